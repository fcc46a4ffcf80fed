/**
 * Which notebooks' outputs the page may show as they are. What the user ran here is trusted when it is opened again;
 * a notebook that came from elsewhere is not until its cells are run: the page then takes scripts and styles out of it.
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

/** Remembers notebooks by a digest of their cells, in a file of the user's data. */
export class Notary {
  readonly #file: string;
  #known: Set<string> | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  get #digests(): Set<string> {
    this.#known ??= new Set(existsSync(this.#file) ? readFileSync(this.#file, "utf8").split("\n") : []);
    return this.#known;
  }

  /** Takes the page's word on a notebook that it saves, and the marks out of it: they are not for the file. */
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

  /** Marks the cells of a notebook that is opened. */
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

/** The page has texts whole, the file has them in lines: a digest is of lines. */
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

/** The same value whatever the order of keys was. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, each]) => [key, sorted(each)]),
  );
}

/** Whether a cell's outputs are text alone. */
function isPlain({ outputs = [] }: Cell): boolean {
  return outputs.every(
    ({ output_type, data = {} }) =>
      output_type === "stream" || output_type === "error" || Object.keys(data).every((type) => type === "text/plain"),
  );
}
