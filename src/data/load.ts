import { stat } from "node:fs/promises";
import { basename, extname } from "node:path";
import { parse } from "csv-parse/sync";
import { DataError, Dataset, type Row } from "./dataset.ts";
import { textLines, wholeText } from "./encoding.ts";

/** Options of {@link loadDataset}. */
export interface LoadOptions {
  /** Name of the data set, shown in the tracker. Default: the file's name. */
  name?: string;
  /**
   * What to do with a line that cannot be read: "stop" throws an error that names it (default); "skip" skips it and reports
   * the number of skipped lines.
   */
  onError?: "stop" | "skip";
  /** Columns that must be present and not empty in every row. */
  required?: readonly string[];
  /** Maximum bytes per line of `.jsonl`, or of a whole file of another format. Default: the maximum string length. */
  maxBytes?: number;
}

/**
 * Loads rows from a `.jsonl`, `.json` (an array) or `.csv` (with a header) file, in UTF-8, or in UTF-16 with a byte-order
 * mark.
 * @throws DataError when the file is missing, empty or of another format; or naming the line that is invalid or not UTF-8
 */
export async function loadDataset(path: string, options: LoadOptions = {}): Promise<Dataset> {
  const facts = await stat(path).catch(() => undefined);
  if (!facts) throw new DataError(`There is no file ${path}.`);
  if (facts.isDirectory()) throw new DataError(`${path} is a folder; pass a .jsonl, .json or .csv file.`);
  const { name = basename(path), onError = "stop", required = [], maxBytes } = options;
  const problems: string[] = [];
  const problem = (line: number, why: string) => {
    const message = `${path}, line ${line}: ${why}`;
    if (onError === "stop") throw new DataError(`${message} (onError: "skip" skips such lines)`);
    problems.push(message);
  };
  const rows: Row[] = [];
  const check: Take = (line, value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      problem(line, `a row must be an object, not ${JSON.stringify(value)?.slice(0, 40)}`);
      return;
    }
    const missing = required.find((key) => (value as Row)[key] === undefined || (value as Row)[key] === "");
    if (missing !== undefined) {
      problem(line, `${missing} is missing; the row has ${Object.keys(value).join(", ") || "no columns"}`);
    } else {
      rows.push(value as Row);
    }
  };
  await readRows(path, check, problem, maxBytes);
  if (problems.length > 0) {
    const more = problems.length > 3 ? ` … and ${problems.length - 3} more` : "";
    process.stderr.write(`Skipped ${problems.length} lines: ${problems.slice(0, 3).join("; ")}${more}\n`);
  }
  if (rows.length === 0) throw new DataError(`${path} has no valid rows.`);
  return Dataset.from(name, rows, problems.length);
}

type Problem = (line: number, why: string) => void;

type Take = (line: number, value: unknown) => void;

async function readRows(path: string, take: Take, problem: Problem, maxBytes?: number): Promise<void> {
  switch (extname(path).toLowerCase()) {
    case ".jsonl":
    case ".ndjson":
      return readLines(path, take, problem, maxBytes);
    case ".json": {
      const value = parseJson(await wholeText(path, maxBytes), (why) => {
        throw new DataError(`${path}: ${why}`);
      });
      if (!Array.isArray(value)) throw new DataError(`${path} must contain an array of rows.`);
      for (const [i, row] of value.entries()) take(i + 1, row);
      return;
    }
    case ".csv": {
      const rows = readCsv(await wholeText(path, maxBytes), path);
      for (const [i, row] of rows.entries()) take(i + 2, row);
      return;
    }
    default:
      throw new DataError(
        `${path}: ${extname(path) || "a file without extension"} is not a supported format; .jsonl, .json and .csv are.`,
      );
  }
}

async function readLines(path: string, take: Take, problem: Problem, maxBytes?: number): Promise<void> {
  for await (const lines of textLines(path, maxBytes)) {
    for (const read of lines) {
      if ("problem" in read) {
        problem(read.line, read.problem);
        continue;
      }
      if (read.text.trim() === "") continue;
      let broken = false;
      const value = parseJson(read.text, (why) => {
        broken = true;
        problem(read.line, why);
      });
      if (!broken) take(read.line, value);
    }
  }
}

function parseJson(text: string, fail: (why: string) => void): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    fail(`invalid JSON (${(error as Error).message.replace(/\s+/g, " ")})`);
    return undefined;
  }
}

function readCsv(text: string, path: string): Row[] {
  try {
    return parse(text, { columns: true, bom: true, skip_empty_lines: true });
  } catch (error) {
    throw new DataError(`${path}: ${(error as Error).message}`);
  }
}
