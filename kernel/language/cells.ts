/**
 * The cells of a notebook as modules of a TypeScript project.
 *
 * Each executed cell is a module. The scope module exports all of them, and each of them imports the scope. A cell without
 * imports gets a slot: a file in a temporary folder that is part of the project from the start. A new cell then changes
 * only the text of one file and no import, so that the compiler replaces that file in its program instead of building a
 * new program (4 ms instead of 12). A cell with imports is a document in the notebook's folder, so that its imports
 * resolve from there.
 */
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CellModule, TypedDeclaration } from "./declarations.ts";
import { type Narrowings, narrowedName, narrowedVariables, type Used, variablesFrom } from "./narrowing.ts";

const scope = "__anneal_scope";
/** The document of the scope module, in the notebook's folder. */
export const scopeFile = `${scope}.ts`;

/** Number of slots added at a time, because adding files makes the compiler rebuild its program. */
const slotBatch = 48;

/** Stores the documents and files of modules. */
export interface ModuleHost {
  /** The absolute path of the notebook's folder, with forward slashes. */
  readonly folder: string;
  /** Sets the text of a document in the notebook's folder. */
  write(file: string, text: string): void;
  /** Closes a document. */
  remove(file: string): void;
  /** Writes a file on disk and notifies the compiler. */
  writeFile(path: string, text: string): void;
  /** Sets the additional files of the project. */
  setFiles(paths: readonly string[]): void;
}

/** The modules of the executed cells. */
export class CellModules {
  readonly #host: ModuleHost;
  readonly #temporary = realpathSync(mkdtempSync(join(tmpdir(), "anneal-cells-")));
  readonly #slots: string[] = [];
  /** The modules in slots, by slot number. */
  readonly #used = new Map<number, CellModule>();
  /** The modules that are documents. */
  #documents: CellModule[] = [];

  constructor(host: ModuleHost) {
    this.#host = host;
    this.#addSlots();
  }

  #addSlots(): void {
    for (let i = 0; i < slotBatch; i++) {
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
   * Creates the module of a cell. Its text is set by {@link write}.
   * @param needs modules whose names the cell uses
   * @param live modules that are still needed; the slots and documents of others are released
   */
  create(
    cell: number,
    source: string,
    declarations: readonly TypedDeclaration[],
    needs: ReadonlySet<CellModule>,
    live: ReadonlySet<CellModule>,
  ): CellModule {
    if (hasImports(source)) {
      const unused = this.#documents.filter((each) => !live.has(each));
      this.#documents = this.#documents.filter((each) => live.has(each));
      for (const { key } of unused) this.#host.remove(`${key}.ts`);
      return { cell, key: `__anneal_${cell}`, source, declarations, needs };
    }
    let slot = 0;
    for (let occupant = this.#used.get(slot); occupant && live.has(occupant); occupant = this.#used.get(slot)) slot++;
    if (slot === this.#slots.length) this.#addSlots();
    const module = { cell, key: slotKey(slot), source, declarations, needs };
    this.#used.set(slot, module);
    return module;
  }

  /**
   * Writes the text of a module.
   * @param narrowings the narrowed types that the cell uses
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
    // The scope is written first, so that the server finds the new document in its project.
    this.#documents.push(module);
    this.#writeScope();
    this.#host.write(`${module.key}.ts`, text);
  }

  /**
   * The text of a module or of a cell to check: one line that imports names of other cells, then the cell.
   * @param options.more lines after the cell
   * @param options.exported names to export in addition to the cell's own exports
   * @param options.folder the folder of the scope module in import specifiers
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
    // The empty statement ends the import: otherwise completion would suggest only parts of an import.
    const names = `${head.join("")}${variablesFrom(used, narrowings, moduleName)};`;
    return [names, source, ...more, `export { ${exports} };`, ""].join("\n");
  }

  /** Removes the temporary folder. */
  close(): void {
    rmSync(this.#temporary, { recursive: true, force: true });
  }
}

/** The expression for a cell's module in documents. */
export const moduleName = ({ key }: CellModule): string => `${scope}.${key}`;

const slotKey = (slot: number): string => `__anneal_slot${slot + 1}`;

const slashed = (path: string): string => path.replaceAll("\\", "/");

/** Whether a cell may have imports. `import.meta` and comments are false positives, which only cost time. */
export const hasImports = (source: string): boolean => /\b(import|require)\b|\bfrom\s*["']|\/\/\/\s*</.test(source);

/** Removes the names of these modules from a text of the compiler. */
export function withoutModules(text: string): string {
  return text
    .replace(/import\("[^"]*(?:__anneal_|anneal-cells-)[^"]*"\)\./g, "")
    .replace(/^(import [\p{L}\p{N}_$]+) = __anneal_scope\.\w+\.[\p{L}\p{N}_$]+;?$/gmu, "$1")
    .replace(/__anneal_scope\.(?:__anneal_\w+\.)?/g, "");
}
