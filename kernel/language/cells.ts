/**
 * How the compiler sees the cells of a notebook.
 *
 * Each cell that ran is a module. One more module, the scope, exports all of them, and they import the scope. A cell
 * without imports of its own gets a slot: a file in a temporary folder that was part of the project from the beginning.
 * So it changes the text of one file and no import, and the compiler replaces that file in its program instead of
 * building a new one (4 ms instead of 12). A cell with imports is a document in the notebook's folder, where its imports
 * resolve as the notebook's do.
 */
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CellModule, TypedDeclaration } from "./declarations.ts";
import { type Narrowings, narrowedName, narrowedVariables, type Used, variablesFrom } from "./narrowing.ts";

const scope = "__anneal_scope";
/** The scope's document, in the notebook's folder. */
export const scopeFile = `${scope}.ts`;

/** Slots that are added at once: an addition makes the compiler build its program anew. */
const slotsAtOnce = 48;

/** Where modules are written to. */
export interface ModuleHost {
  /** The absolute path of the notebook's folder, with forward slashes. */
  readonly folder: string;
  /** Gives a document in the notebook's folder its text. */
  write(file: string, text: string): void;
  /** Closes such a document. */
  remove(file: string): void;
  /** Writes a file on the disk that the compiler may have read before. */
  writeFile(path: string, text: string): void;
  /** Sets which files the project has beside those that it always has. */
  setFiles(paths: readonly string[]): void;
}

/** The modules of the cells that ran. */
export class CellModules {
  readonly #host: ModuleHost;
  readonly #temporary = realpathSync(mkdtempSync(join(tmpdir(), "anneal-cells-")));
  readonly #slots: string[] = [];
  /** The modules in slots, by the slot's number. */
  readonly #used = new Map<number, CellModule>();
  /** Modules that are documents. */
  #documents: CellModule[] = [];

  constructor(host: ModuleHost) {
    this.#host = host;
    this.#addSlots();
  }

  #addSlots(): void {
    for (let i = 0; i < slotsAtOnce; i++) {
      const path = slashed(join(this.#temporary, `${this.#slots.length + 1}.ts`));
      this.#slots.push(path);
      this.#host.writeFile(path, this.text("", undefined, undefined, { folder: this.#host.folder }));
    }
    this.#host.setFiles(this.#slots);
    this.#writeScope();
  }

  #writeScope(): void {
    const lines = [
      ...this.#slots.map((path, index) => `export * as ${slotKey(index)} from ${JSON.stringify(path)};`),
      ...this.#documents.map(({ key }) => `export * as ${key} from "./${key}.ts";`),
    ];
    this.#host.write(scopeFile, `${lines.join("\n")}\n`);
  }

  /**
   * Makes the module of a cell, without a text yet.
   * @param needs modules that the cell uses names of
   * @param live modules that are still needed; others are given up
   */
  create(
    cell: number,
    source: string,
    declarations: readonly TypedDeclaration[],
    needs: ReadonlySet<CellModule>,
    live: ReadonlySet<CellModule>,
  ): CellModule {
    if (hasImports(source)) {
      const dead = this.#documents.filter((each) => !live.has(each));
      this.#documents = this.#documents.filter((each) => live.has(each));
      for (const { key } of dead) this.#host.remove(`${key}.ts`);
      return { cell, key: `__anneal_${cell}`, source, declarations, needs };
    }
    let slot = 0;
    for (let holder = this.#used.get(slot); holder && live.has(holder); holder = this.#used.get(slot)) slot++;
    if (slot === this.#slots.length) this.#addSlots();
    const module = { cell, key: slotKey(slot), source, declarations, needs };
    this.#used.set(slot, module);
    return module;
  }

  /**
   * Gives a module its text.
   * @param narrowings those that the cell builds on
   * @param narrowed references that the cell narrows
   */
  write(module: CellModule, used: Used, narrowings: Narrowings, narrowed: readonly string[]): void {
    const types = narrowed.map((reference) => `export type ${narrowedName(reference)} = typeof ${reference};`);
    const exported = module.declarations.filter((each) => !each.exported).map(({ name }) => name);
    const slot = this.#slots.findIndex((_, index) => slotKey(index) === module.key);
    const text = this.text(module.source, used, narrowings, {
      more: types,
      exported,
      folder: slot < 0 ? "." : this.#host.folder,
    });
    if (slot >= 0) {
      this.#host.writeFile(this.#slots[slot] ?? "", text);
      return;
    }
    // The scope first: the server must know why the document belongs to its project when it meets it.
    this.#documents.push(module);
    this.#writeScope();
    this.#host.write(`${module.key}.ts`, text);
  }

  /**
   * The text of a module or of a cell that is checked: one line that brings the names of other cells, then the cell.
   * @param options.more lines after the cell
   * @param options.exported names that other cells may use and that the cell does not export by itself
   * @param options.folder where the scope is, as an import names it
   */
  text(
    source: string,
    used: Used = new Map(),
    narrowings: Narrowings = new Map(),
    {
      more = [],
      exported = [],
      folder = ".",
    }: { more?: readonly string[]; exported?: readonly string[]; folder?: string } = {},
  ): string {
    const head = [`import * as ${scope} from ${JSON.stringify(`${folder}/${scopeFile}`)};`];
    for (const [name, { module, form }] of used) {
      if (form === "import") head.push(`import ${name} = ${moduleName(module)}.${name};`);
    }
    const exports = [...exported, ...narrowedVariables(used, narrowings)].join(", ");
    // The empty statement: right after an import, the completer proposes only what belongs to the import.
    const names = `${head.join("")}${variablesFrom(used, narrowings, moduleName)};`;
    return [names, source, ...more, `export { ${exports} };`, ""].join("\n");
  }

  /** Removes the temporary folder. */
  close(): void {
    rmSync(this.#temporary, { recursive: true, force: true });
  }
}

/** What a document calls the module of a cell. */
export const moduleName = ({ key }: CellModule): string => `${scope}.${key}`;

const slotKey = (slot: number): string => `__anneal_slot${slot + 1}`;

const slashed = (path: string): string => path.replaceAll("\\", "/");

/** Whether the text of a cell may import something; `import.meta` and comments count too, which only costs time. */
export const hasImports = (source: string): boolean => /\b(import|require)\b|\bfrom\s*["']|\/\/\/\s*</.test(source);

/** Text of the compiler's without the names of these modules. */
export function withoutModules(text: string): string {
  return text
    .replace(/import\("[^"]*(?:__anneal_|anneal-cells-)[^"]*"\)\./g, "")
    .replace(/^(import [\p{L}\p{N}_$]+) = __anneal_scope\.\w+\.[\p{L}\p{N}_$]+;?$/gmu, "$1")
    .replace(/__anneal_scope\.(?:__anneal_\w+\.)?/g, "");
}
