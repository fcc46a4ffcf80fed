/** The compiler of a notebook: a language server and its open documents. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { CellModules, type ModuleHost, scopeFile } from "./cells.ts";
import { compilerProgram } from "./compiler.ts";
import { LanguageServer } from "./lsp.ts";
import { narrowingTypes } from "./narrowing.ts";
import { compilerConfig, globalTypes } from "./project.ts";

/** Documents that are always open. */
export const files = {
  config: "tsconfig.json",
  env: "__anneal_env.d.ts",
  scope: scopeFile,
  cell: "__anneal_cell.ts",
  draft: "__anneal_draft.ts",
} as const;

/** How often a crashed server is restarted. */
const maxRestarts = 2;

/**
 * The compiler of a notebook. Its documents have paths in the notebook's folder, so that imports resolve from there, but are
 * only in memory. After a crash, the new server gets all documents again.
 */
export class CompilerSession implements ModuleHost {
  readonly folder: string;
  readonly #packageRoot: string;
  readonly #options: Record<string, unknown>;
  readonly #texts = new Map<string, string>();
  readonly #versions = new Map<string, number>();
  #modules: CellModules | undefined;
  #server: LanguageServer | undefined;
  /** Whether the server accepts documents. */
  #isOpen = false;
  #ready: Promise<void> | undefined;
  #restarts = 0;

  /**
   * @param folder the notebook's folder
   * @param packageRoot fallback for `anneal` and `@types/node` if they do not resolve from the folder
   * @param options compiler options of the folder's tsconfig.json
   */
  constructor(folder: string, packageRoot: string, options: Record<string, unknown> = {}) {
    this.folder = folder.replaceAll("\\", "/");
    this.#packageRoot = packageRoot;
    this.#options = options;
  }

  /**
   * Starts the server if it is not running.
   * @throws Error when the server has failed
   */
  start(): Promise<void> {
    if (this.#server?.failure !== undefined && this.#restarts < maxRestarts) {
      this.#restarts++;
      this.#ready = undefined;
    }
    this.#ready ??= this.#launch();
    this.#ready.catch(() => {});
    return this.#ready;
  }

  async #launch(): Promise<void> {
    this.#isOpen = false;
    const server = new LanguageServer([...compilerProgram(), "--lsp", "--stdio"], this.folder);
    this.#server = server;
    const initialized = server.request("initialize", {
      processId: process.pid,
      rootUri: pathToFileURL(this.folder).href,
      capabilities: {
        textDocument: {
          diagnostic: {},
          hover: { contentFormat: ["markdown"] },
          definition: { linkSupport: true },
          signatureHelp: { signatureInformation: { documentationFormat: ["markdown"] } },
          completion: { completionItem: { snippetSupport: false, documentationFormat: ["markdown"] } },
        },
      },
      initializationOptions: {
        disablePushDiagnostics: true,
        // Otherwise each change triggers indexing of all installed packages: 20 to 100 ms in a big project.
        userPreferences: { includeCompletionsForModuleExports: false, suggest: { autoImports: false } },
      },
    });
    if (!this.#texts.has(files.env)) {
      // Creating the modules writes the config, which the server needs before any document.
      const { modules } = this;
      this.write(files.env, globalTypes + narrowingTypes);
      this.write(files.cell, modules.text(""));
      this.write(files.draft, modules.text(""));
    }
    // Sent without waiting for the response, because the server handles messages in order and this process is still loading.
    server.notify("initialized", {});
    this.#isOpen = true;
    this.#versions.clear();
    for (const [file, text] of this.#texts) this.write(file, text);
    await Promise.all([initialized, this.diagnostics(files.cell)]);
  }

  /** The modules of the executed cells. */
  get modules(): CellModules {
    this.#modules ??= new CellModules(this);
    return this.#modules;
  }

  setFiles(paths: readonly string[]): void {
    const all = [...Object.values(files), ...paths];
    this.write(files.config, compilerConfig(this.folder, this.#packageRoot, this.#options, all));
  }

  writeFile(path: string, text: string): void {
    writeFileSync(path, text);
    if (this.#isOpen) this.#filesChanged([{ uri: pathToFileURL(path).href, type: 2 }]);
  }

  write(file: string, text: string): void {
    this.#texts.set(file, text);
    const server = this.#server;
    if (!server || !this.#isOpen) return;
    const version = (this.#versions.get(file) ?? 0) + 1;
    this.#versions.set(file, version);
    if (version === 1) {
      const languageId = file.endsWith(".json") ? "json" : "typescript";
      server.notify("textDocument/didOpen", { textDocument: { uri: this.#uri(file), languageId, version, text } });
    } else {
      server.notify("textDocument/didChange", {
        textDocument: { uri: this.#uri(file), version },
        contentChanges: [{ text }],
      });
    }
  }

  remove(file: string): void {
    this.#texts.delete(file);
    if (this.#versions.delete(file) && this.#isOpen) {
      this.#server?.notify("textDocument/didClose", { textDocument: { uri: this.#uri(file) } });
    }
  }

  /** Sends a request about a document. */
  async request(method: string, file: string, more: object = {}): Promise<unknown> {
    return this.#server?.request(method, { textDocument: { uri: this.#uri(file) }, ...more });
  }

  /** Requests the diagnostics of a document. */
  diagnostics(file: string): Promise<unknown> {
    return this.request("textDocument/diagnostic", file);
  }

  /** Sends a resolve request for an item of an earlier response. */
  async resolve(method: string, item: unknown): Promise<unknown> {
    return this.#server?.request(method, item);
  }

  /** Notifies the server that files on disk were created (1) or changed (2). Paths are relative to the folder. */
  filesChanged(changes: readonly { path: string; type: 1 | 2 }[]): void {
    this.#filesChanged(changes.map(({ path, type }) => ({ uri: this.#uri(path), type })));
  }

  #filesChanged(changes: { uri: string; type: 1 | 2 }[]): void {
    if (changes.length > 0) this.#server?.notify("workspace/didChangeWatchedFiles", { changes });
  }

  #uri(file: string): string {
    return pathToFileURL(join(this.folder, file)).href;
  }

  /** The server's process id, while it runs. */
  get pid(): number | undefined {
    return this.#server?.pid;
  }

  /** Stops the server and removes temporary files. */
  close(): void {
    this.#server?.kill();
    this.#modules?.close();
  }
}
