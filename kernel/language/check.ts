/**
 * Type checking of cells by TypeScript 7's language server.
 *
 * A cell gets the names it uses from the modules of the cells that declared them last, as of then (see cells.ts). The
 * cell to check is one document that always imports the same: then the server need not build its program anew, and a
 * check takes about 2 ms.
 *
 * A cell that failed half-way stays with those of its names that got a value, and with its types: they have no value
 * that could be missing.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { position } from "../transform/syntax.ts";
import { prepareCell } from "../transform/transform.ts";
import { cleaned, completionKinds, type Definition, markdown, readDiagnostics } from "./answers.ts";
import { hasImports, moduleName } from "./cells.ts";
import { type CellModule, type Declared, declarationOf, typedDeclarations } from "./declarations.ts";
import { type Flow, flowOf, isWithin } from "./flow.ts";
import type { Diagnostic } from "./mistakes.ts";
import { type Effect, type Narrowings, narrowingsAfter, narrowingsOf, probesFor, type Used } from "./narrowing.ts";
import { packageName } from "./packages.ts";
import { type CompilerSession, files } from "./session.ts";
import { snippetOf } from "./snippets.ts";

/** What came of a check. */
export interface CheckResult {
  diagnostics: Diagnostic[];
  /** What the cell narrows; for {@link Checker.commit}. */
  findings?: Findings;
  /** One line to show when nothing could be checked; told once for each cause. */
  warning?: string;
}

/** Where so many names fit, none is written out as a snippet: each has to be asked about. */
const snippetLimit = 30;

/** Whether a member is being written: of an object literal, or of a class. */
function placeOf(head: string, entries: readonly { label: string; kind?: number }[]): "object" | "class" | undefined {
  if (entries.some(({ label }) => label === "private")) return "class";
  const members = entries.every(({ kind }) => kind === 2 || kind === 5);
  return members && /[{,]\s*[\p{L}\p{N}_$]*$/u.test(head) ? "object" : undefined;
}

/** One proposal of the completer. */
export interface Completion {
  text: string;
  /** What it is: `function`, `property`, `class`, … */
  type: string;
}

/** Where completions go, and what they are. */
export interface Completions {
  items: Completion[];
  /** Offsets of what they replace. */
  start: number;
  end: number;
}

type Looked = Required<Pick<CheckResult, "diagnostics" | "findings">>;

/** What a cell does to the types of names, and the narrowed types that it was found right with. */
export interface Findings {
  effects: ReadonlyMap<string, Effect>;
  narrowings: Narrowings;
}

/** The cell that was committed last, and how things were before it. */
interface Undo {
  module: CellModule;
  flow: Flow;
  reassigned: ReadonlySet<string>;
  owners: Map<string, Declared>;
  narrowings: Narrowings;
}

/** Cells that were found right, and are not looked at again. */
const cleanKept = 300;

/** The types of one notebook's cells. */
export class Checker {
  readonly #session: CompilerSession;
  #warned: string | undefined;
  #owners = new Map<string, Declared>();
  #narrowings: Narrowings = new Map();
  /** What functions of cells assign to. */
  readonly #reassigned = new Set<string>();
  #undo: Undo | undefined;

  constructor(session: CompilerSession) {
    this.#session = session;
  }

  /** Checks a cell against all cells before. Never throws: without a server, there is nothing to complain of. */
  async check(source: string): Promise<CheckResult> {
    try {
      await this.#session.start();
      const { source: prepared, shift } = prepareCell(source);
      const used = this.#used(prepared);
      const narrowings = narrowingsOf(used, this.#narrowings);
      const found = await this.#look(prepared, shift, source, used, narrowings);
      if (found.diagnostics.length === 0 || narrowings.size === 0) return found;
      // What is wrong of a narrowed type may be right of the declared one: `mode === "eval"` after `mode = "train"`.
      const declared = await this.#look(prepared, shift, source, used, new Map());
      return declared.diagnostics.length === 0 ? declared : found;
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      if (this.#warned === cause) return { diagnostics: [] };
      this.#warned = cause;
      return { diagnostics: [], warning: `Types are not checked: ${cause}. Cells run all the same.` };
    }
  }

  async #look(prepared: string, shift: number, source: string, used: Used, narrowings: Narrowings): Promise<Looked> {
    const probes = probesFor(flowOf(prepared), typedDeclarations(prepared), used, narrowings, moduleName);
    const document = this.#session.modules.text(prepared, used, narrowings, { more: probes.lines });
    // A cell that runs again on the same declarations is as right as it was; what it imports may have changed.
    const modules = [...used.values(), ...narrowings.values()].map(({ module }) => module.cell);
    const key = [document, ...modules].join("\n");
    const known = this.#clean.get(key);
    if (known) return { diagnostics: [], findings: { effects: known, narrowings } };
    this.#session.write(files.cell, document);
    this.#tellFiles(prepared);
    const report = await this.#session.diagnostics(files.cell);
    const { diagnostics, after } = readDiagnostics(report, shift, source);
    const effects = probes.effects(after);
    if (diagnostics.length === 0 && !hasImports(prepared)) this.#remember(key, effects);
    return { diagnostics, findings: { effects, narrowings } };
  }

  /** What cells that were found right do to the types of names. */
  readonly #clean = new Map<string, ReadonlyMap<string, Effect>>();

  #remember(key: string, effects: ReadonlyMap<string, Effect>): void {
    this.#clean.set(key, effects);
    const oldest = this.#clean.keys().next();
    if (this.#clean.size > cleanKept && oldest.value !== undefined) this.#clean.delete(oldest.value);
  }

  // The server is told of files that it may have seen otherwise before: packages just installed, files just edited.
  #tellFiles(source: string): void {
    const changes: { path: string; type: 1 | 2 }[] = [];
    for (const [, specifier = ""] of source.matchAll(/(?:from|import|import\()\s*["']([^"'\n]+)["']/g)) {
      if (specifier.startsWith(".")) {
        changes.push({ path: specifier, type: 2 });
      } else if (!specifier.startsWith("node:") && !this.#seenPackages.has(specifier)) {
        this.#seenPackages.add(specifier);
        changes.push({ path: `node_modules/${packageName(specifier)}/package.json`, type: 1 });
      }
    }
    this.#session.filesChanged(changes);
  }

  readonly #seenPackages = new Set<string>();

  /** Packages were installed or removed: what was looked for before is looked for again. */
  packagesChanged(): void {
    this.#seenPackages.clear();
    this.#clean.clear();
    this.#session.filesChanged([{ path: "node_modules", type: 2 }]);
  }

  /** Names of earlier cells that a cell uses and does not declare itself. */
  #used(source: string, all = false): Map<string, Declared> {
    const own = new Set(typedDeclarations(source).map(({ name }) => name));
    const used = new Map<string, Declared>();
    const candidates = all ? this.#owners.keys() : new Set(source.match(/[\p{L}_$][\p{L}\p{N}_$]*/gu));
    for (const name of candidates) {
      const owner = this.#owners.get(name);
      if (owner && !own.has(name)) used.set(name, owner);
    }
    return used;
  }

  /**
   * The cell runs: what it declares, and what it narrows, is seen by the cells after it.
   * @param findings of the cell's check; without it the cell narrows nothing
   */
  commit(cell: number, source: string, findings: Findings = { effects: new Map(), narrowings: new Map() }): void {
    const { source: prepared } = prepareCell(source);
    const declarations = typedDeclarations(prepared);
    const flow = flowOf(prepared);
    const used = this.#used(prepared);
    const builtOn = findings.narrowings;
    const needs = new Set([...used.values(), ...builtOn.values()].map((each) => each.module));
    const live = new Set([
      ...needs,
      ...[...this.#owners.values(), ...this.#narrowings.values()].map((each) => each.module),
    ]);
    for (const each of live) for (const needed of each.needs) live.add(needed);
    const module = this.#session.modules.create(cell, prepared, declarations, needs, live);
    const reassigned = new Set(this.#reassigned);
    for (const { name } of declarations) this.#reassigned.delete(name);
    for (const name of flow.reassigned) this.#reassigned.add(name);
    const before = this.#narrowings;
    this.#narrowings = narrowingsAfter(before, { module, flow, effects: findings.effects, builtOn }, this.#reassigned);
    const narrowed = [...this.#narrowings].filter(([, each]) => each.module === module).map(([reference]) => reference);
    const isSame = narrowed.length === 0 && this.#narrowings.size === before.size;
    this.#undo = { module, flow, reassigned, owners: new Map(this.#owners), narrowings: before };
    if (declarations.length === 0 && isSame) return;
    for (const { name, form } of declarations) this.#owners.set(name, { module, form });
    if (declarations.length > 0 || narrowed.length > 0) {
      this.#session.modules.write(module, used, builtOn, narrowed);
      // Builds the program now, while the cell runs, instead of when the next cell waits for it.
      this.#session.diagnostics(files.cell).catch(() => {});
    }
  }

  /** The cell that was committed last failed: of its values, only `bound` are there. */
  retract(cell: number, bound: ReadonlySet<string>): void {
    const undo = this.#undo;
    if (undo?.module.cell !== cell) return;
    this.#undo = undefined;
    for (const { name } of undo.module.declarations) {
      if (bound.has(name) || isTypeOnly(undo.module.source, name)) continue;
      const before = undo.owners.get(name);
      if (before) this.#owners.set(name, before);
      else this.#owners.delete(name);
    }
    for (const name of undo.reassigned) this.#reassigned.add(name);
    // How far the cell came nobody knows: what it tested need not hold, and what it assigned may be anything.
    const changed = [...undo.flow.assigned, ...bound];
    const kept = [...undo.narrowings].filter(([reference]) => !changed.some((other) => isWithin(reference, other)));
    this.#narrowings = new Map(kept);
  }

  /** All variables are lost, and so are their types. */
  reset(): void {
    this.#owners = new Map();
    this.#narrowings = new Map();
    this.#reassigned.clear();
    this.#undo = undefined;
  }

  /** What could stand at an offset of a cell that is being written. */
  async complete(source: string, offset: number): Promise<Completions> {
    const answer = await this.#ask("textDocument/completion", source, offset, { context: { triggerKind: 1 } });
    const entries = (Array.isArray(answer) ? answer : ((answer as { items?: unknown[] } | null)?.items ?? [])) as {
      label: string;
      kind?: number;
      sortText?: string;
      insertText?: string;
      textEdit?: { newText: string };
      additionalTextEdits?: unknown;
      labelDetails?: { description?: string };
    }[];
    const head = source.slice(0, offset);
    const quoted = /["']([^"'\n]*)$/.exec(head)?.[1];
    // `node:f` is one word where a string names a module.
    const whole = quoted !== undefined && entries.some(({ label }) => label.startsWith(quoted));
    const before = whole ? quoted : (/[\p{L}\p{N}_$]*$/u.exec(head)?.[0] ?? "");
    const start = offset - before.length;
    const prefix = before.toLowerCase();
    const items = entries
      .filter((entry) => entry.label.toLowerCase().startsWith(prefix) && !entry.label.startsWith("__anneal"))
      // Proposals that would add an import belong to an editor.
      .filter((entry) => entry.additionalTextEdits === undefined && entry.labelDetails?.description === undefined)
      .sort((a, b) => (a.sortText ?? "").localeCompare(b.sortText ?? "") || a.label.localeCompare(b.label))
      .map((entry) => ({
        text: /^[\p{L}\p{N}_$]+$/u.test(entry.label) ? entry.label : (entry.insertText ?? entry.label),
        type: completionKinds[entry.kind ?? 0] ?? "text",
        entry,
      }));
    const place = placeOf(head, entries);
    const found = place === undefined || items.length > snippetLimit ? [] : items;
    const snippets = await Promise.all(
      found.map(async ({ text, type, entry }) => {
        if (type !== "method" && type !== "property") return [];
        const resolved = (await this.#session.resolve("completionItem/resolve", entry)) as { detail?: string } | null;
        const snippet = snippetOf(text, resolved?.detail ?? "", place ?? "object");
        return snippet === undefined ? [] : [{ text: snippet, type: "snippet" }];
      }),
    );
    return {
      items: [...items.map(({ text, type }) => ({ text, type })), ...snippets.flat()],
      start,
      end: offset,
    };
  }

  /**
   * What is known of the name at an offset, as Markdown; of the call around it, where there is no name.
   * @param withSource with the text of its declaration
   */
  async inspect(source: string, offset: number, withSource = false): Promise<string | undefined> {
    const hover = (await this.#ask("textDocument/hover", source, offset)) as { contents?: unknown } | null;
    const text = markdown(hover?.contents);
    if (text !== "") {
      const declared = withSource ? await this.#declaration(source, offset) : undefined;
      return cleaned(text) + (declared === undefined ? "" : `\n\n${declared}`);
    }
    const help = (await this.#ask("textDocument/signatureHelp", source, offset)) as {
      signatures?: { label: string; documentation?: unknown }[];
      activeSignature?: number;
    } | null;
    const signature = help?.signatures?.[help.activeSignature ?? 0];
    if (!signature) return undefined;
    return cleaned(`\`\`\`typescript\n${signature.label}\n\`\`\`\n${markdown(signature.documentation)}`);
  }

  /** The source of the declaration of the name at an offset, as Markdown. */
  async #declaration(source: string, offset: number): Promise<string | undefined> {
    const before = /[\p{L}\p{N}_$.]*$/u.exec(source.slice(0, offset))?.[0] ?? "";
    const name = before + (/^[\p{L}\p{N}_$]*/u.exec(source.slice(offset))?.[0] ?? "");
    const owner = this.#owners.get(name);
    if (owner) {
      const text = declarationOf(owner.module.source, name);
      return text === undefined ? undefined : `\`\`\`typescript\n${text}\n\`\`\``;
    }
    const found = (await this.#ask("textDocument/definition", source, offset)) as Definition | Definition[] | null;
    const [place] = Array.isArray(found) ? found : [found];
    const uri = place?.targetUri ?? place?.uri;
    const range = place?.targetRange ?? place?.range;
    if (uri === undefined || range === undefined || !uri.startsWith("file:")) return undefined;
    const file = fileURLToPath(uri);
    const lines = (await readFile(file, "utf8")).split("\n").slice(range.start.line, range.end.line + 1);
    return `${file}:${range.start.line + 1}\n\`\`\`typescript\n${lines.join("\n")}\n\`\`\``;
  }

  async #ask(method: string, source: string, offset: number, more: object = {}): Promise<unknown> {
    await this.#session.start();
    const used = this.#used(source, true);
    this.#session.write(files.draft, this.#session.modules.text(source, used, narrowingsOf(used, this.#narrowings)));
    const { line, column } = position(source, offset);
    return this.#session.request(method, files.draft, { position: { line: line + 1, character: column }, ...more });
  }
}

function isTypeOnly(source: string, name: string): boolean {
  return new RegExp(`\\b(interface|type)\\s+${name.replaceAll("$", "\\$")}\\b`).test(source);
}
