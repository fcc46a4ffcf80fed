import { constants } from "node:buffer";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { DataError } from "./dataset.ts";

/** Maximum bytes per line: the maximum length of JavaScript strings. */
export const longestLine = constants.MAX_STRING_LENGTH;

/** A line of a file, or a problem with it. Lines count from 1. */
export type Line = { line: number; text: string } | { line: number; problem: string };

/**
 * Yields the lines of a text file in UTF-8, or in UTF-16 with a byte-order mark, in groups.
 * @param maxBytes maximum bytes per line; a longer line is reported as a problem
 */
export async function* textLines(path: string, maxBytes = longestLine): AsyncGenerator<Line[]> {
  const lines = new LineSplitter(maxBytes);
  for await (const chunk of utf8Chunks(path)) {
    const [first, last] = [chunk.indexOf(10), chunk.lastIndexOf(10)];
    if (first === -1) {
      lines.keep(chunk);
      continue;
    }
    lines.keep(chunk.subarray(0, first));
    lines.end();
    if (last > first) lines.whole(chunk.subarray(first + 1, last));
    lines.keep(chunk.subarray(last + 1));
    yield lines.take();
  }
  if (lines.pending) lines.end();
  yield lines.take();
}

/** Splits bytes into lines. */
class LineSplitter {
  readonly #maxBytes: number;
  #line = 0;
  #done: Line[] = [];
  /** Pieces of the incomplete line. */
  #pieces: Buffer[] = [];
  #size = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get pending(): boolean {
    return this.#size > 0;
  }

  /** Adds to the incomplete line. */
  keep(piece: Buffer): void {
    this.#size += piece.length;
    if (this.#size <= this.#maxBytes) this.#pieces.push(piece);
    else this.#pieces = [];
  }

  /** Completes the line. */
  end(): void {
    const bytes = Buffer.concat(this.#pieces);
    const tooLong = this.#size > this.#maxBytes;
    this.#pieces = [];
    this.#size = 0;
    if (tooLong) {
      this.#done.push({ line: ++this.#line, problem: `the line is longer than ${this.#maxBytes} bytes` });
      return;
    }
    const text = decodeUtf8(bytes);
    if (text === undefined) this.#done.push({ line: ++this.#line, problem: notUtf8(bytes) });
    else this.#add(text);
  }

  /** Adds complete lines; `bytes` does not include the last line break. */
  whole(bytes: Buffer): void {
    const text = bytes.length <= this.#maxBytes ? decodeUtf8(bytes) : undefined;
    if (text !== undefined) {
      for (const part of text.split("\n")) this.#add(part);
      return;
    }
    for (let from = 0; from <= bytes.length; ) {
      const at = bytes.indexOf(10, from);
      const to = at === -1 ? bytes.length : at;
      this.keep(bytes.subarray(from, to));
      this.end();
      from = to + 1;
    }
  }

  /** Returns the lines since the last call. */
  take(): Line[] {
    const lines = this.#done;
    this.#done = [];
    return lines;
  }

  #add(text: string): void {
    // A single carriage return is a line break, too.
    const parts = text.includes("\r") ? text.replace(/\r$/, "").split("\r") : [text];
    for (const part of parts) this.#done.push({ line: ++this.#line, text: part });
  }
}

/**
 * Reads a text file in UTF-8, or in UTF-16 with a byte-order mark.
 * @throws DataError naming the line in another encoding, or when the file is too large
 */
export async function wholeText(path: string, maxBytes = longestLine): Promise<string> {
  const { size } = await stat(path);
  if (size > maxBytes) {
    throw new DataError(
      `${path} has ${size} bytes, more than the limit of ${maxBytes} for this format. Convert it to .jsonl, which has no limit.`,
    );
  }
  const bytes = await readFile(path);
  const mark = markOf(bytes);
  if (mark.encoding !== "utf-8") return decodeUtf16(bytes.subarray(mark.length), mark.encoding, path);
  const content = bytes.subarray(mark.length);
  const text = decodeUtf8(content);
  if (text !== undefined) return text;
  for (let line = 1, from = 0; ; line++) {
    const at = content.indexOf(10, from);
    const part = content.subarray(from, at === -1 ? content.length : at);
    if (at === -1 || decodeUtf8(part) === undefined) throw new DataError(`${path}, line ${line}: ${notUtf8(part)}`);
    from = at + 1;
  }
}

/** Yields a file's content as UTF-8, decoded by its byte-order mark. */
async function* utf8Chunks(path: string): AsyncGenerator<Buffer> {
  let decoder: InstanceType<typeof TextDecoder> | undefined;
  let first = true;
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    let bytes = chunk as Buffer;
    if (first) {
      const { encoding, length } = markOf(bytes);
      bytes = bytes.subarray(length);
      if (encoding !== "utf-8") decoder = new TextDecoder(encoding, { ignoreBOM: true });
      first = false;
    }
    yield decoder ? Buffer.from(decoder.decode(bytes, { stream: true })) : bytes;
  }
  if (decoder) yield Buffer.from(decoder.decode());
}

function markOf(bytes: Buffer): { encoding: "utf-8" | "utf-16le" | "utf-16be"; length: number } {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return { encoding: "utf-16le", length: 2 };
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return { encoding: "utf-16be", length: 2 };
  return { encoding: "utf-8", length: bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0 };
}

function decodeUtf16(bytes: Buffer, encoding: string, path: string): string {
  try {
    return new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new DataError(`${path} is not valid ${encoding.toUpperCase()}, although it has that byte-order mark.`);
  }
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Buffer): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Describes why a line is not UTF-8, and guesses its encoding. */
function notUtf8(bytes: Buffer): string {
  const { at, cut } = firstBad(bytes);
  const byte = bytes[at].toString(16).toUpperCase().padStart(2, "0");
  const problem = `the text is not UTF-8: byte 0x${byte} at position ${at + 1}`;
  if (bytes.includes(0)) return `${problem}. It looks like UTF-16; save the file as UTF-8.`;
  if (cut) return `${problem}, where the line ends within a character. The file is truncated; get it again.`;
  // In Latin text, accented letters are surrounded by ASCII; letters of other scripts form runs.
  let [high, runs, control] = [0, 0, false];
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] < 0x80) continue;
    high++;
    if (!(bytes[i - 1] >= 0x80)) runs++;
    control ||= bytes[i] < 0xa0;
  }
  if (high >= 2 * runs) {
    return `${problem}. It looks like a code page of another script, such as Windows-1251, GBK or Shift_JIS; save the file as UTF-8.`;
  }
  const [encoding, name] = control ? ["Windows-1252", "WINDOWS-1252"] : ["Latin-1 (ISO-8859-1)", "ISO-8859-1"];
  return `${problem}. It looks like ${encoding}; convert the file with: iconv -f ${name} -t UTF-8`;
}

/** Returns the position of the first invalid byte, and whether it starts a truncated character. */
function firstBad(bytes: Buffer): { at: number; cut: boolean } {
  const begins = (length: number) => {
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length), { stream: true });
      return true;
    } catch {
      return false;
    }
  };
  // Binary search for the longest valid prefix, which may end within a character.
  let [good, bad] = [0, bytes.length + 1];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (begins(middle)) good = middle;
    else bad = middle;
  }
  let at = good;
  if (decodeUtf8(bytes.subarray(0, good)) === undefined) {
    do at--;
    while (at > 0 && (bytes[at] & 0xc0) === 0x80);
  }
  return { at, cut: good === bytes.length && good - at > 1 };
}
