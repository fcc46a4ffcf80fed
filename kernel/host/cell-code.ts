/** Prepares cells to run: reads their magics, transforms and type-checks them. */
import type { Checker, Findings } from "../language/check.ts";
import { showDiagnostics, showSyntaxError } from "../language/mistakes.ts";
import type { EmitOptions } from "../transform/lower.ts";
import { type Magics, readMagics } from "../transform/magics.ts";
import { CellSyntaxError } from "../transform/syntax.ts";
import { type TransformedCell, transformCell } from "../transform/transform.ts";
import type { Outcome } from "./lane.ts";
import type { Options } from "./options.ts";
import type { Command, Declaration, DeclarationKind, ShownError } from "./protocol.ts";

/** A transformed and checked cell. */
export interface ReadyCell {
  transformed: TransformedCell;
  /** `user_expressions`, as code. */
  expressions: { name: string; code: string }[];
  /** Results of the type check for later checks; undefined if the check was skipped. */
  findings: Findings | undefined;
}

/** Options of {@link CellCode.prepare}. */
export interface PrepareOptions {
  /** The cell's name in errors, such as `In[3]`. */
  label: string;
  options: Options;
  /** A debugger is attached: loops must not use local copies of variables, which it would not show. */
  debugging: boolean;
  /** Prints a warning; the cell runs nevertheless. */
  warn(line: string): void;
}

/** Prepares cells and keeps track of the names that they declare. */
export class CellCode {
  readonly #checker: Checker;
  readonly #emit: EmitOptions;
  readonly #names = new Map<string, DeclarationKind>();
  /** Names that functions in cells reference. */
  readonly #captured = new Set<string>();
  /** Names that the running cell declares. */
  #declaring: ReadonlySet<string> = new Set();
  #check = true;

  constructor(checker: Checker, emit: EmitOptions) {
    this.#checker = checker;
    this.#emit = emit;
  }

  /** Names that cells have declared. */
  get names(): ReadonlyMap<string, DeclarationKind> {
    return this.#names;
  }

  /** Whether a cell declares a name, including the running one. */
  isDeclared(name: string): boolean {
    return this.#names.has(name) || this.#declaring.has(name);
  }

  /** Reads the magics of a cell. @returns the error to show if they are invalid */
  magics({ code }: Options, label: string): Magics | ShownError {
    try {
      const magics = readMagics(code);
      if (magics.alone && magics.check !== undefined) this.#check = magics.check;
      return magics;
    } catch (error) {
      if (error instanceof CellSyntaxError) return showSyntaxError(error, label, code);
      throw error;
    }
  }

  /** Transforms and checks a cell. @returns the error to show if it must not run */
  async prepare({ source, check = this.#check }: Magics, prepare: PrepareOptions): Promise<ReadyCell | ShownError> {
    const { label, options, debugging, warn } = prepare;
    let transformed: TransformedCell;
    try {
      transformed = transformCell(source, this.#names, this.#emit, debugging ? undefined : this.#captured);
    } catch (error) {
      if (error instanceof CellSyntaxError) return showSyntaxError(error, label, options.code);
      throw error;
    }
    let findings: Findings | undefined;
    // The front-end itself sends silent cells; the user would not see their type errors.
    if (check && !options.silent && source.trim() !== "") {
      const result = await this.#checker.check(source);
      if (result.warning !== undefined) warn(result.warning);
      if (result.diagnostics.length > 0) return showDiagnostics(result.diagnostics, label, source);
      findings = result.findings;
    }
    return { transformed, expressions: this.#expressions(options), findings };
  }

  #expressions({ expressions }: Options): { name: string; code: string }[] {
    return Object.entries(expressions).map(([name, code]) => {
      try {
        return { name, code: transformCell(code, this.#names).code };
      } catch (error) {
        return { name, code: `throw new SyntaxError(${JSON.stringify(String(error))})` };
      }
    });
  }

  /** Call before a cell runs. */
  begins({ declared, mentioned }: TransformedCell): void {
    for (const name of mentioned) this.#captured.add(name);
    this.#declaring = new Set(declared.map(({ name }) => name));
  }

  /** Call after a cell has run: registers the names that it initialized. */
  ended(cell: number, declared: readonly Declaration[], { error, bound }: Outcome): void {
    const initialized = new Set(bound);
    for (const { name, kind } of declared) {
      if (!error || initialized.has(name)) this.#names.set(name, kind);
    }
    if (error) this.#checker.retract(cell, initialized);
  }

  /** Declares a name of type `any` that no cell declares, such as one from the debug console. */
  declare(cell: number, name: string): void {
    this.#names.set(name, "let");
    this.#checker.commit(cell, `let ${name}: any`);
  }

  /** Call after the commands of magics have run. */
  afterCommands(commands: readonly Command[]): void {
    if (commands.some(({ name }) => name === "npm" || name === "shell")) this.#checker.packagesChanged();
    if (commands.some(({ name }) => name === "reset")) this.forget();
  }

  /** Removes all declarations. */
  forget(): void {
    this.#names.clear();
    this.#checker.reset();
  }
}
