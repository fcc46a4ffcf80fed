/**
 * Trust of notebooks' outputs. Notebooks that the user ran here are trusted when they are opened again; in other notebooks,
 * the page removes scripts and styles from outputs until their cells are run.
 */
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { normalNotebook } from "./notebook-file.ts";

interface Cell {
  cell_type?: unknown;
  metadata?: Record<string, unknown>;
  outputs?: { output_type?: unknown; data?: Record<string, unknown> }[];
}

/** Stores digests of trusted notebooks' cells in a file of the user's data. */
export class Notary {
  readonly #file: string;
  #cache: Set<string> | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  get #digests(): Set<string> {
    this.#cache ??= new Set(existsSync(this.#file) ? readFileSync(this.#file, "utf8").split("\n") : []);
    return this.#cache;
  }

  /** Records whether the page trusts a notebook that it saves, and removes the trust marks, which are not saved. */
  sign(content: unknown): void {
    const cells = cellsOf(content);
    const isTrusted = cells.every(
      (cell) => cell.cell_type !== "code" || cell.metadata?.trusted === true || isPlain(cell),
    );
    for (const { metadata } of cells) delete metadata?.trusted;
    const digest = digestOf(content);
    if (!isTrusted || this.#digests.has(digest)) return;
    this.#digests.add(digest);
    mkdirSync(dirname(this.#file), { recursive: true });
    appendFileSync(this.#file, `${digest}\n`);
  }

  /** Marks the trusted cells of a notebook that is opened. */
  mark(content: unknown): void {
    const cells = cellsOf(content);
    const isKnown = this.#digests.has(digestOf(content));
    for (const cell of cells) {
      if (cell.cell_type !== "code") continue;
      cell.metadata = { ...cell.metadata };
      delete cell.metadata.trusted;
      if (isKnown || isPlain(cell)) cell.metadata.trusted = true;
    }
  }
}

/** Returns a digest of the normalized notebook: the page has whole texts, the file has lists of lines. */
function digestOf(content: unknown): string {
  const parts = cellsOf(normalNotebook(content)).map(({ metadata, ...cell }) => {
    const { trusted: _, ...rest } = metadata ?? {};
    return { ...cell, metadata: rest };
  });
  return createHash("sha256")
    .update(JSON.stringify(sorted(parts)))
    .digest("hex");
}

function cellsOf(content: unknown): Cell[] {
  const { cells } = (content ?? {}) as { cells?: unknown };
  return Array.isArray(cells) ? (cells as Cell[]) : [];
}

/** Sorts the keys of objects recursively. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, each]) => [key, sorted(each)]),
  );
}

/** Whether a cell has only text outputs. */
function isPlain({ outputs = [] }: Cell): boolean {
  return outputs.every(
    ({ output_type, data = {} }) =>
      output_type === "stream" || output_type === "error" || Object.keys(data).every((type) => type === "text/plain"),
  );
}
