/**
 * Type checking of cells with TypeScript 7's language server.
 *
 * A cell imports the names it uses from the modules of the cells that last declared them (see cells.ts). The cell to check
 * is always the same document with the same imports, so that the server need not rebuild its program and a check takes
 * about 2 ms.
 *
 * If a cell throws, only its initialized variables and its types stay declared.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { position } from "../transform/syntax.ts";
import { prepareCell } from "../transform/transform.ts";
import { completionKinds, type Definition, markdown, readDiagnostics, withoutInternals } from "./answers.ts";
import { hasImports, moduleName } from "./cells.ts";
import { type CellModule, type Declared, declarationOf, typedDeclarations } from "./declarations.ts";
import { type Flow, flowOf, isWithin } from "./flow.ts";
import type { Diagnostic } from "./mistakes.ts";
import { type Effect, type Narrowings, narrowingsAfter, narrowingsOf, probesFor, type Used } from "./narrowing.ts";
import { packageName } from "./packages.ts";
import { type CompilerSession, files } from "./session.ts";
import { snippetOf } from "./snippets.ts";

/** The result of a check. */
export interface CheckResult {
  diagnostics: Diagnostic[];
  /** The types that the cell narrows, for {@link Checker.commit}. */
  findings?: Findings;
  /** A warning if the cell could not be checked; returned once for each cause. */
  warning?: string;
}

/** With more completions than this there are no snippets, because each needs a request. */
const snippetLimit = 30;

/** Whether the completion is for a member of an object literal or of a class. */
function memberContext(
  head: string,
  entries: readonly { label: string; kind?: number }[],
): "object" | "class" | undefined {
  if (entries.some(({ label }) => label === "private")) return "class";
  const members = entries.every(({ kind }) => kind === 2 || kind === 5);
  return members && /[{,]\s*[\p{L}\p{N}_$]*$/u.test(head) ? "object" : undefined;
}

/** A completion. */
export interface Completion {
  text: string;
  /** The kind, such as `function`, `property` or `class`. */
  type: string;
}

/** Completions and the range that they replace. */
export interface Completions {
  items: Completion[];
  /** Offsets of the replaced text. */
  start: number;
  end: number;
}

type ServerResult = Required<Pick<CheckResult, "diagnostics" | "findings">>;

/** The effects of a cell on the types of names, and the narrowed types that it was checked with. */
export interface Findings {
  effects: ReadonlyMap<string, Effect>;
  narrowings: Narrowings;
}

/** The last committed cell and the state before it. */
interface Undo {
  module: CellModule;
  flow: Flow;
  reassigned: ReadonlySet<string>;
  owners: Map<string, Declared>;
  narrowings: Narrowings;
}

/** Maximum number of cached checks without errors. */
const maxCachedChecks = 300;

/** The type checker of a notebook. */
export class Checker {
  readonly #session: CompilerSession;
  #warned: string | undefined;
  #owners = new Map<string, Declared>();
  #narrowings: Narrowings = new Map();
  /** References that functions in cells assign to. */
  readonly #reassigned = new Set<string>();
  #undo: Undo | undefined;

  constructor(session: CompilerSession) {
    this.#session = session;
  }

  /** Checks a cell. Never throws: if the server fails, the result is a warning. */
  async check(source: string): Promise<CheckResult> {
    try {
      await this.#session.start();
      const { source: prepared, shift } = prepareCell(source);
      const used = this.#used(prepared);
      const narrowings = narrowingsOf(used, this.#narrowings);
      const result = await this.#checkDocument(prepared, shift, source, used, narrowings);
      if (result.diagnostics.length === 0 || narrowings.size === 0) return result;
      // A cell may be valid only with the declared types: `mode === "eval"` after `mode = "train"`.
      const withDeclared = await this.#checkDocument(prepared, shift, source, used, new Map());
      return withDeclared.diagnostics.length === 0 ? withDeclared : result;
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      if (this.#warned === cause) return { diagnostics: [] };
      this.#warned = cause;
      return { diagnostics: [], warning: `Types are not checked: ${cause}. Cells run without type checks.` };
    }
  }

  async #checkDocument(
    prepared: string,
    shift: number,
    source: string,
    used: Used,
    narrowings: Narrowings,
  ): Promise<ServerResult> {
    const probes = probesFor(flowOf(prepared), typedDeclarations(prepared), used, narrowings, moduleName);
    const document = this.#session.modules.text(prepared, used, narrowings, { more: probes.lines });
    // A cell is not checked again with the same declarations, unless it has imports, which may have changed.
    const modules = [...used.values(), ...narrowings.values()].map(({ module }) => module.cell);
    const key = [document, ...modules].join("\n");
    const cached = this.#checked.get(key);
    if (cached) return { diagnostics: [], findings: { effects: cached, narrowings } };
    this.#session.write(files.cell, document);
    this.#reportFiles(prepared);
    const report = await this.#session.diagnostics(files.cell);
    const { diagnostics, after } = readDiagnostics(report, shift, source);
    const effects = probes.effects(after);
    if (diagnostics.length === 0 && !hasImports(prepared)) this.#cache(key, effects);
    return { diagnostics, findings: { effects, narrowings } };
  }

  /** The effects of cells that were checked without errors. */
  readonly #checked = new Map<string, ReadonlyMap<string, Effect>>();

  #cache(key: string, effects: ReadonlyMap<string, Effect>): void {
    this.#checked.set(key, effects);
    const oldest = this.#checked.keys().next();
    if (this.#checked.size > maxCachedChecks && oldest.value !== undefined) this.#checked.delete(oldest.value);
  }

  // Notifies the server of files that may have changed: newly installed packages and edited files.
  #reportFiles(source: string): void {
    const changes: { path: string; type: 1 | 2 }[] = [];
    for (const [, specifier = ""] of source.matchAll(/(?:from|import|import\()\s*["']([^"'\n]+)["']/g)) {
      if (specifier.startsWith(".")) {
        changes.push({ path: specifier, type: 2 });
      } else if (!specifier.startsWith("node:") && !this.#reportedPackages.has(specifier)) {
        this.#reportedPackages.add(specifier);
        changes.push({ path: `node_modules/${packageName(specifier)}/package.json`, type: 1 });
      }
    }
    this.#session.filesChanged(changes);
  }

  readonly #reportedPackages = new Set<string>();

  /** Call after packages were installed or removed. Their types are resolved again. */
  packagesChanged(): void {
    this.#reportedPackages.clear();
    this.#checked.clear();
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
   * Makes the declarations and narrowed types of a cell visible to later cells. Call when the cell runs.
   * @param findings from the cell's check; without it the cell narrows nothing
   */
  commit(cell: number, source: string, findings: Findings = { effects: new Map(), narrowings: new Map() }): void {
    const { source: prepared } = prepareCell(source);
    const declarations = typedDeclarations(prepared);
    const flow = flowOf(prepared);
    const used = this.#used(prepared);
    const baseNarrowings = findings.narrowings;
    const needs = new Set([...used.values(), ...baseNarrowings.values()].map((each) => each.module));
    const live = new Set([
      ...needs,
      ...[...this.#owners.values(), ...this.#narrowings.values()].map((each) => each.module),
    ]);
    for (const each of live) for (const dependency of each.needs) live.add(dependency);
    const module = this.#session.modules.create(cell, prepared, declarations, needs, live);
    const reassigned = new Set(this.#reassigned);
    for (const { name } of declarations) this.#reassigned.delete(name);
    for (const name of flow.reassigned) this.#reassigned.add(name);
    const before = this.#narrowings;
    this.#narrowings = narrowingsAfter(
      before,
      { module, flow, effects: findings.effects, baseNarrowings },
      this.#reassigned,
    );
    const narrowed = [...this.#narrowings].filter(([, each]) => each.module === module).map(([reference]) => reference);
    const isSame = narrowed.length === 0 && this.#narrowings.size === before.size;
    this.#undo = { module, flow, reassigned, owners: new Map(this.#owners), narrowings: before };
    if (declarations.length === 0 && isSame) return;
    for (const { name, form } of declarations) this.#owners.set(name, { module, form });
    if (declarations.length > 0 || narrowed.length > 0) {
      this.#session.modules.write(module, used, baseNarrowings, narrowed);
      // Builds the program while the cell runs, so that the next cell need not wait for it.
      this.#session.diagnostics(files.cell).catch(() => {});
    }
  }

  /** Call if the last committed cell threw: only the names in `bound` stay declared. */
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
    // It is unknown where the cell stopped: its type tests need not hold, and its assignments may have happened or not.
    const changed = [...undo.flow.assigned, ...bound];
    const valid = [...undo.narrowings].filter(([reference]) => !changed.some((other) => isWithin(reference, other)));
    this.#narrowings = new Map(valid);
  }

  /** Removes all declarations. */
  reset(): void {
    this.#owners = new Map();
    this.#narrowings = new Map();
    this.#reassigned.clear();
    this.#undo = undefined;
  }

  /** Completions at an offset of a cell. */
  async complete(source: string, offset: number): Promise<Completions> {
    const response = await this.#requestAt("textDocument/completion", source, offset, { context: { triggerKind: 1 } });
    const entries = (
      Array.isArray(response) ? response : ((response as { items?: unknown[] } | null)?.items ?? [])
    ) as {
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
    // In a string, a module name such as `node:f` is completed as a whole.
    const isModuleName = quoted !== undefined && entries.some(({ label }) => label.startsWith(quoted));
    const word = isModuleName ? quoted : (/[\p{L}\p{N}_$]*$/u.exec(head)?.[0] ?? "");
    const start = offset - word.length;
    const prefix = word.toLowerCase();
    const items = entries
      .filter((entry) => entry.label.toLowerCase().startsWith(prefix) && !entry.label.startsWith("__anneal"))
      // Completions that add an import are not supported.
      .filter((entry) => entry.additionalTextEdits === undefined && entry.labelDetails?.description === undefined)
      .sort((a, b) => (a.sortText ?? "").localeCompare(b.sortText ?? "") || a.label.localeCompare(b.label))
      .map((entry) => ({
        text: /^[\p{L}\p{N}_$]+$/u.test(entry.label) ? entry.label : (entry.insertText ?? entry.label),
        type: completionKinds[entry.kind ?? 0] ?? "text",
        entry,
      }));
    const context = memberContext(head, entries);
    const members = context === undefined || items.length > snippetLimit ? [] : items;
    const snippets = await Promise.all(
      members.map(async ({ text, type, entry }) => {
        if (type !== "method" && type !== "property") return [];
        const resolved = (await this.#session.resolve("completionItem/resolve", entry)) as { detail?: string } | null;
        const snippet = snippetOf(text, resolved?.detail ?? "", context ?? "object");
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
   * Type and documentation of the name at an offset, as Markdown. Without a name there, the signature of the enclosing call.
   * @param withSource include the source of its declaration
   */
  async inspect(source: string, offset: number, withSource = false): Promise<string | undefined> {
    const hover = (await this.#requestAt("textDocument/hover", source, offset)) as { contents?: unknown } | null;
    const text = markdown(hover?.contents);
    if (text !== "") {
      const declaration = withSource ? await this.#declaration(source, offset) : undefined;
      return withoutInternals(text) + (declaration === undefined ? "" : `\n\n${declaration}`);
    }
    const help = (await this.#requestAt("textDocument/signatureHelp", source, offset)) as {
      signatures?: { label: string; documentation?: unknown }[];
      activeSignature?: number;
    } | null;
    const signature = help?.signatures?.[help.activeSignature ?? 0];
    if (!signature) return undefined;
    return withoutInternals(`\`\`\`typescript\n${signature.label}\n\`\`\`\n${markdown(signature.documentation)}`);
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
    const response = await this.#requestAt("textDocument/definition", source, offset);
    const [definition] = Array.isArray(response) ? (response as Definition[]) : [response as Definition | null];
    const uri = definition?.targetUri ?? definition?.uri;
    const range = definition?.targetRange ?? definition?.range;
    if (uri === undefined || range === undefined || !uri.startsWith("file:")) return undefined;
    const file = fileURLToPath(uri);
    const lines = (await readFile(file, "utf8")).split("\n").slice(range.start.line, range.end.line + 1);
    return `${file}:${range.start.line + 1}\n\`\`\`typescript\n${lines.join("\n")}\n\`\`\``;
  }

  async #requestAt(method: string, source: string, offset: number, more: object = {}): Promise<unknown> {
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
