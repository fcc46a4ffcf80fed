/**
 * Writes notebook files like Jupyter's nbformat, so that diffs show only changed lines: sorted keys, an indent of 1, texts as
 * lists of lines, unescaped characters, and a newline at the end.
 */
import { isDeepStrictEqual } from "node:util";
import { kernelName, kernelSpec, languageInfo } from "../kernel/spec.ts";

type Json = Record<string, unknown>;

const isJson = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/** Returns the metadata that a page writes to a notebook when its kernel runs. */
function kernelMetadata(): Json {
  const { display_name, language } = kernelSpec();
  return { kernelspec: { display_name, language, name: kernelName }, language_info: languageInfo() };
}

/** Whether a notebook is for this kernel; one without metadata is. */
function isOurs({ kernelspec, language_info }: Json): boolean {
  if (isJson(kernelspec)) return kernelspec.name === kernelName;
  return !isJson(language_info) || language_info.name === "typescript";
}

/**
 * Adds the metadata that the page would write to a notebook, so that opening does not change it. A notebook without cells is
 * changed in any case, because the page adds the first cell.
 */
export function openedNotebook(content: unknown): unknown {
  if (!isJson(content) || !Array.isArray(content.cells) || content.cells.length === 0) return content;
  const metadata = isJson(content.metadata) ? content.metadata : {};
  return isOurs(metadata) ? { ...content, metadata: { ...metadata, ...kernelMetadata() } } : content;
}

/**
 * Returns the text to save.
 * @param before text of the existing file. It is returned unchanged when the page has changed nothing; its language and kernel
 *   metadata are kept when the page has only updated them.
 */
export function notebookText(content: unknown, before?: string): string {
  const old = before === undefined ? undefined : parse(before);
  if (
    old !== undefined &&
    isDeepStrictEqual(normalNotebook(openedNotebook(old)), normalNotebook(openedNotebook(content)))
  ) {
    return before ?? "";
  }
  const oldMetadata = isJson(old) && isJson(old.metadata) && isOurs(old.metadata) ? old.metadata : {};
  const metadata = isJson(content) && isJson(content.metadata) ? content.metadata : {};
  const now: Json = kernelMetadata();
  const restored = Object.fromEntries(
    Object.entries(metadata).map(([key, value]) => [
      key,
      key in now && key in oldMetadata && isDeepStrictEqual(value, now[key]) ? oldMetadata[key] : value,
    ]),
  );
  return `${write(normalNotebook(isJson(content) ? { ...content, metadata: restored } : content), "")}\n`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Converts a notebook's texts to lists of lines, as nbformat's `split_lines`. */
export function normalNotebook(content: unknown): unknown {
  if (!isJson(content) || !Array.isArray(content.cells)) return content;
  return { ...content, cells: content.cells.map((cell) => (isJson(cell) ? normalCell(cell) : cell)) };
}

function normalCell(cell: Json): Json {
  const { attachments, outputs } = cell;
  const split: Json = { ...cell, source: lines(cell.source) };
  if (isJson(attachments)) split.attachments = mapValues(attachments, (bundle) => splitBundle(bundle));
  if (Array.isArray(outputs)) split.outputs = outputs.map((output) => (isJson(output) ? normalOutput(output) : output));
  return split;
}

function normalOutput(output: Json): Json {
  if (output.output_type === "stream") return { ...output, text: lines(output.text) };
  return "data" in output ? { ...output, data: splitBundle(output.data) } : output;
}

function splitBundle(bundle: unknown): unknown {
  if (!isJson(bundle)) return bundle;
  const isText = (type: string) =>
    type.startsWith("text/") || type === "application/javascript" || type === "image/svg+xml";
  return mapValues(bundle, (value, type) => (isText(type) ? lines(value) : value));
}

const mapValues = (record: Json, map: (value: unknown, key: string) => unknown): Json =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value, key)]));

const ends = "\r\n\v\f\u001c\u001d\u001e\u0085\u2028\u2029";
const line = new RegExp(`[^${ends}]*(?:\r\n|[${ends}])|[^${ends}]+$`, "g");

/** Splits a text, or a list of its parts, into lines with their ends, as Python's `splitlines`. */
function lines(text: unknown): unknown {
  const whole = Array.isArray(text) ? text.join("") : text;
  if (typeof whole !== "string") return whole;
  return whole.match(line) ?? [];
}

/** Serializes JSON like Python's `json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)`. */
function write(value: unknown, indent: string): string {
  const innerIndent = `${indent} `;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((each) => innerIndent + write(each, innerIndent)).join(",\n")}\n${indent}]`;
  }
  if (isJson(value)) {
    const keys = Object.keys(value)
      .filter((key) => value[key] !== undefined)
      .sort();
    if (keys.length === 0) return "{}";
    const entries = keys.map((key) => `${innerIndent}${JSON.stringify(key)}: ${write(value[key], innerIndent)}`);
    return `{\n${entries.join(",\n")}\n${indent}}`;
  }
  return typeof value === "number" ? writeNumber(value) : (JSON.stringify(value) ?? "null");
}

/** Formats numbers like Python: 1e-05 instead of 0.00001, with two digits in exponents. */
function writeNumber(value: number): string {
  if (!Number.isFinite(value)) return "null";
  const small = value !== 0 && Math.abs(value) < 1e-4;
  return small ? value.toExponential().replace(/e-(\d)$/, "e-0$1") : String(value);
}
