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
import type { TypedDeclaration } from "./declarations.ts";

const scope = "__anneal_scope";
/** The scope's document, in the notebook's folder. */
export const scopeFile = `${scope}.ts`;

/** Slots that are added at once: an addition makes the compiler build its program anew. */
const slotsAtOnce = 48;

/** The module that stands for a cell that ran. */
export interface CellModule {
  /** The cell's number: slots are used again, numbers are not. */
  cell: number;
  /** What the scope exports the module as. */
  key: string;
  source: string;
  declarations: readonly TypedDeclaration[];
  /** Modules that it uses names of. */
  needs: ReadonlySet<CellModule>;
}

/** A name that a cell declared. */
export interface Declared {
  module: CellModule;
  form: TypedDeclaration["form"];
}

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
      this.#host.writeFile(path, this.text([], "", [], this.#host.folder));
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
   * Makes the module of a cell.
   * @param used names of earlier cells that the cell uses
   * @param live modules that are still needed; others are given up
   */
  add(
    cell: number,
    source: string,
    declarations: readonly TypedDeclaration[],
    used: ReadonlyMap<string, Declared>,
    live: ReadonlySet<CellModule>,
  ): CellModule {
    const needs = new Set([...used.values()].map(({ module }) => module));
    const exported = declarations.filter((each) => !each.exported).map(({ name }) => name);
    if (hasImports(source)) {
      const module = { cell, key: `__anneal_${cell}`, source, declarations, needs };
      const dead = this.#documents.filter((each) => !live.has(each));
      this.#documents = [...this.#documents.filter((each) => live.has(each)), module];
      // The scope first: the server must know why the document belongs to its project when it meets it.
      this.#writeScope();
      this.#host.write(`${module.key}.ts`, this.text(used, source, exported));
      for (const { key } of dead) this.#host.remove(`${key}.ts`);
      return module;
    }
    let slot = 0;
    for (let holder = this.#used.get(slot); holder && live.has(holder); holder = this.#used.get(slot)) slot++;
    if (slot === this.#slots.length) this.#addSlots();
    const module = { cell, key: slotKey(slot), source, declarations, needs };
    this.#used.set(slot, module);
    this.#host.writeFile(this.#slots[slot] ?? "", this.text(used, source, exported, this.#host.folder));
    return module;
  }

  /**
   * The text of a module or of a cell that is checked: one line that brings the names of other cells, then the cell.
   * @param exported names that other cells may use and that the cell does not export by itself
   * @param folder where the scope is, as an import names it
   */
  text(
    used: Iterable<readonly [name: string, declared: Declared]>,
    source: string,
    exported: readonly string[] = [],
    folder = ".",
  ): string {
    const head = [`import * as ${scope} from ${JSON.stringify(`${folder}/${scopeFile}`)};`];
    for (const [name, { module, form }] of used) {
      const target = `${scope}.${module.key}.${name}`;
      head.push(form === "import" ? `import ${name} = ${target};` : `declare ${form} ${name}: typeof ${target};`);
    }
    // The empty statement: right after an import, the completer proposes only what belongs to the import.
    return `${head.join("")};\n${source}\nexport { ${exported.join(", ")} };\n`;
  }

  /** Removes the temporary folder. */
  close(): void {
    rmSync(this.#temporary, { recursive: true, force: true });
  }
}

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
