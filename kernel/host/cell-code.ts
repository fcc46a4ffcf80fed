/** From the text of a cell to code that may run: its magics, its transformation, its type check. */
import type { Checker, Findings } from "../language/check.ts";
import { showDiagnostics, showSyntaxError } from "../language/mistakes.ts";
import type { EmitOptions } from "../transform/lower.ts";
import { type Magics, readMagics } from "../transform/magics.ts";
import { CellSyntaxError } from "../transform/syntax.ts";
import { type TransformedCell, transformCell } from "../transform/transform.ts";
import type { Outcome } from "./lane.ts";
import type { Options } from "./options.ts";
import type { Command, Declaration, DeclarationKind, ShownError } from "./protocol.ts";

/** A cell that may run. */
export interface ReadyCell {
  transformed: TransformedCell;
  /** `user_expressions`, as code. */
  expressions: { name: string; code: string }[];
  /** What the check found that later checks need; undefined where it was left out. */
  findings: Findings | undefined;
}

/** How a cell is prepared. */
export interface Preparing {
  /** How the cell is named in errors, such as `In[3]`. */
  label: string;
  options: Options;
  /** A debugger shows variables where all cells see them: no loop works on copies. */
  debugging: boolean;
  /** Tells the user something that does not stop the cell. */
  warn(line: string): void;
}

/** Knows what the cells so far have declared. */
export class CellCode {
  readonly #checker: Checker;
  readonly #emit: EmitOptions;
  readonly #names = new Map<string, DeclarationKind>();
  /** Names that functions of cells mention. */
  readonly #captured = new Set<string>();
  /** Names of the cell that runs. */
  #declaring: ReadonlySet<string> = new Set();
  #check = true;

  constructor(checker: Checker, emit: EmitOptions) {
    this.#checker = checker;
    this.#emit = emit;
  }

  /** Names that cells have declared so far. */
  get names(): ReadonlyMap<string, DeclarationKind> {
    return this.#names;
  }

  /** Whether a cell declares a name, the one that runs included. */
  isDeclared(name: string): boolean {
    return this.#names.has(name) || this.#declaring.has(name);
  }

  /** The magics of a cell, or what is wrong with them. */
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

  /** Transforms and checks a cell; an error to show where it must not run. */
  async prepare({ source, check = this.#check }: Magics, how: Preparing): Promise<ReadyCell | ShownError> {
    const { label, options, debugging, warn } = how;
    let transformed: TransformedCell;
    try {
      transformed = transformCell(source, this.#names, this.#emit, debugging ? undefined : this.#captured);
    } catch (error) {
      if (error instanceof CellSyntaxError) return showSyntaxError(error, label, options.code);
      throw error;
    }
    let findings: Findings | undefined;
    // A silent cell is the front-end's own; nobody could see what is wrong with its types.
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

  /** A cell is about to run. */
  begins({ declared, mentioned }: TransformedCell): void {
    for (const name of mentioned) this.#captured.add(name);
    this.#declaring = new Set(declared.map(({ name }) => name));
  }

  /** A cell has ended: those of its names that got a value are there. */
  ended(cell: number, declared: readonly Declaration[], { error, bound }: Outcome): void {
    const boundNow = new Set(bound);
    for (const { name, kind } of declared) {
      if (!error || boundNow.has(name)) this.#names.set(name, kind);
    }
    if (error) this.#checker.retract(cell, boundNow);
  }

  /** Makes a name known that no cell declares, such as one of a debugger's user. It has any type. */
  declare(cell: number, name: string): void {
    this.#names.set(name, "let");
    this.#checker.commit(cell, `let ${name}: any`);
  }

  /** Magics have done their work. */
  afterCommands(commands: readonly Command[]): void {
    if (commands.some(({ name }) => name === "npm" || name === "shell")) this.#checker.packagesChanged();
    if (commands.some(({ name }) => name === "reset")) this.forget();
  }

  /** All variables are lost. */
  forget(): void {
    this.#names.clear();
    this.#checker.reset();
  }
}
