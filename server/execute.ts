import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { KernelClient } from "../kernel/client.ts";
import type { Message } from "../kernel/host/wire.ts";
import { oneLine, UsageError } from "./errors.ts";

/** A cell of a notebook file (nbformat 4). */
export interface Cell {
  cell_type: "code" | "markdown" | "raw";
  id?: string;
  source: string | string[];
  metadata: Record<string, unknown>;
  execution_count?: number | null;
  outputs?: Output[];
}

/** An output of a cell (nbformat 4). */
export type Output = { output_type: string } & Record<string, unknown>;

/** A notebook file (nbformat 4). */
export interface NotebookFile {
  cells: Cell[];
  metadata: Record<string, unknown>;
  nbformat: number;
  nbformat_minor: number;
}

/** Listens to the execution of a notebook. */
export interface ExecutionListener {
  /** Called when a code cell starts, counted from 1. */
  onCell?(index: number, total: number, source: string): void;
  onOutput?(output: Output): void;
}

/** Result of an execution. */
export interface Execution {
  notebook: NotebookFile;
  /** The error that stopped the notebook, if any. */
  error?: { cell: number; name: string; value: string; traceback: string[] };
}

/** Jupyter's tag for a cell whose error is expected. */
const isFailureExpected = ({ metadata }: Cell): boolean =>
  Array.isArray(metadata?.tags) && metadata.tags.includes("raises-exception");

export const sourceOf = ({ source }: Cell): string => (Array.isArray(source) ? source.join("") : source);

/** @throws UsageError when the file is missing or not a notebook */
export async function readNotebook(path: string): Promise<NotebookFile> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw new UsageError(`There is no notebook ${path}.`);
    throw new UsageError(
      error.code === "EISDIR" ? `${path} is a folder, not a notebook.` : `Cannot read ${path}: ${error.message}`,
    );
  });
  return parseNotebook(text, path);
}

/** @throws UsageError when the text is not a notebook of format 4 */
export function parseNotebook(text: string, name: string): NotebookFile {
  let file: NotebookFile;
  try {
    file = JSON.parse(text) as NotebookFile;
  } catch (error) {
    throw new UsageError(`${name} is not a notebook: ${oneLine((error as Error).message)}`);
  }
  if (file?.nbformat !== 4 || !Array.isArray(file.cells))
    throw new UsageError(`${name} is not a notebook of format 4.`);
  return file;
}

/**
/**
 * Rejects a notebook whose metadata names a language that the kernel does not run. A notebook without a language is accepted.
 * @param name the notebook's name in the message
 * @throws UsageError
 */
export function requireSupportedLanguage({ metadata }: NotebookFile, name: string): void {
  const { kernelspec, language_info: info } = (metadata ?? {}) as Record<string, Record<string, unknown> | undefined>;
  const language = String(kernelspec?.language ?? info?.name ?? languageOfKernel(String(kernelspec?.name ?? "")));
  if (["", "typescript", "javascript", "ts", "js"].includes(language.toLowerCase())) return;
  const kernel = kernelspec?.display_name ?? kernelspec?.name;
  const written = kernel === undefined ? `in ${language}` : `for the kernel ${kernel}, whose language is ${language}`;
  throw new UsageError(
    `${name} is written ${written}. Anneal runs TypeScript and JavaScript: run the notebook with its own kernel ` +
      "(jupyter execute), or change its kernel to TypeScript (Anneal).",
  );
}

/** Returns the language of a well-known kernel by its name; empty for others. */
function languageOfKernel(name: string): string {
  const [language = ""] = /^(python|julia|bash)|^ir$/.exec(name.toLowerCase().replace(/^x(?=python)/, "")) ?? [];
  return language === "ir" ? "R" : language;
}

/**
 * Runs a notebook's cells in order in a fresh kernel, up to the first unexpected error.
 * @param path the notebook's path, which determines imports, the working folder and the runs' names
 */
export async function executeNotebook(
  notebook: NotebookFile,
  path: string,
  options: { cwd: string; env: Record<string, string>; listener?: ExecutionListener; signal?: AbortSignal },
): Promise<Execution> {
  const { cwd, env, listener, signal } = options;
  const client = await KernelClient.start({ cwd, env, notebookPath: resolve(path) });
  const interrupt = () => void client.interrupt().catch(() => undefined); // The kernel may be gone.
  signal?.addEventListener("abort", interrupt);
  try {
    const result: NotebookFile = structuredClone(notebook);
    const code = result.cells.filter((cell) => cell.cell_type === "code");
    for (const cell of code) Object.assign(cell, { outputs: [], execution_count: null });
    const displays = new Map<string, Output[]>();
    for (const [i, cell] of code.entries()) {
      const source = sourceOf(cell);
      if (source.trim() === "") continue;
      if (signal?.aborted) {
        const value = "the notebook was interrupted before this cell";
        return { notebook: result, error: { cell: i + 1, name: "Interrupted", value, traceback: [] } };
      }
      listener?.onCell?.(i + 1, code.length, source);
      const collector = new OutputCollector(cell, displays, listener);
      const content = await client
        .execute(source, { onOutput: (message) => collector.take(message), ...(cell.id ? { cellId: cell.id } : {}) })
        .then(
          (reply) => reply.content,
          // The kernel's end is this cell's error; the outputs of earlier cells are kept.
          (error: Error) => ({ status: "error", ename: "KernelGone", evalue: error.message, gone: true }),
        );
      cell.execution_count = (content as { execution_count?: number }).execution_count ?? null;
      if (content.status !== "ok" && !(isFailureExpected(cell) && !signal?.aborted && !("gone" in content))) {
        const { ename = "Aborted", evalue = "", traceback = [] } = content as Record<string, never>;
        return { notebook: result, error: { cell: i + 1, name: ename, value: evalue, traceback } };
      }
    }
    return { notebook: result };
  } finally {
    signal?.removeEventListener("abort", interrupt);
    await client.shutdown();
  }
}

/** Converts a kernel's messages to a cell's outputs, as a front-end does. */
class OutputCollector {
  readonly #outputs: Output[];
  readonly #displays: Map<string, Output[]>;
  readonly #listener: ExecutionListener | undefined;
  #clearNext = false;

  constructor(cell: Cell, displays: Map<string, Output[]>, listener: ExecutionListener | undefined) {
    this.#outputs = cell.outputs ?? [];
    cell.outputs = this.#outputs;
    this.#displays = displays;
    this.#listener = listener;
  }

  take({ header, content }: Message): void {
    switch (header.msg_type) {
      case "stream":
        this.#stream(String(content.name), String(content.text));
        return;
      case "display_data":
      case "execute_result":
        this.#display(header.msg_type, content);
        return;
      case "update_display_data":
        this.#update(content);
        return;
      case "error":
        this.#add({
          output_type: "error",
          ename: content.ename,
          evalue: content.evalue,
          traceback: content.traceback,
        });
        return;
      case "clear_output":
        if (content.wait === true) this.#clearNext = true;
        else this.#outputs.length = 0;
    }
  }

  #stream(name: string, text: string): void {
    const last = this.#clearNext ? undefined : this.#outputs.at(-1);
    if (last?.output_type === "stream" && last.name === name) {
      last.text = `${last.text}${text}`;
      this.#listener?.onOutput?.({ output_type: "stream", name, text });
      return;
    }
    this.#add({ output_type: "stream", name, text });
  }

  #display(type: "display_data" | "execute_result", content: Record<string, unknown>): void {
    const { data, metadata = {}, execution_count } = content;
    const output: Output = { output_type: type, data, metadata };
    if (type === "execute_result") output.execution_count = execution_count;
    const id = (content.transient as { display_id?: string } | undefined)?.display_id;
    if (id !== undefined) this.#displays.set(id, [...(this.#displays.get(id) ?? []), output]);
    this.#add(output);
  }

  #update(content: Record<string, unknown>): void {
    const id = (content.transient as { display_id?: string } | undefined)?.display_id ?? "";
    for (const output of this.#displays.get(id) ?? []) {
      output.data = content.data;
      output.metadata = content.metadata ?? {};
      this.#listener?.onOutput?.(output);
    }
  }

  #add(output: Output): void {
    if (this.#clearNext) {
      this.#outputs.length = 0;
      this.#clearNext = false;
    }
    this.#outputs.push(output);
    this.#listener?.onOutput?.(output);
  }
}
