import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { dataFolder } from "./folder.ts";
import { type JournalEntry, keysIn, parseLines, resolveEntry } from "./records.ts";

/** Bytes read at a time, so that a journal of any size is read in pieces; a record that is longer makes it grow. */
const chunk = 2 ** 20;

/** Names of the segments that this process writes. */
const written = new Set<string>();

/** Where the journals of a data folder are. */
export const journalFolder = (data: string) => join(data, "journal");

/** The process that writes a segment: its number, and when it began, since numbers come again. */
const processMark = (pid: number): string => `${pid} ${startOf(pid) ?? ""}`.trim();

/** When a process began, in the system's ticks; undefined where the system does not tell. */
function startOf(pid: number): string | undefined {
  try {
    // The program's name stands in brackets and may hold anything; the start is the 20th field after it.
    return readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ")[19];
  } catch {
    return undefined;
  }
}

function isAlive(owner: string): boolean {
  const [pid, start] = owner.split(" ");
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  const now = startOf(Number(pid));
  return start === undefined || now === undefined || start === now;
}

/**
 * One file of a run's journal. It has one writer for its whole life; a process that goes on with the run begins
 * another. So whoever sends what a dead process left may delete its segments and takes nothing from a living one.
 *
 * Beside `<name>.jsonl` lie `<name>.owner` (who writes it), `<name>.sent` (the byte up to which the tracker has
 * everything) and the folder `<name>.files` (files that wait to be sent).
 */
export class Segment {
  readonly name: string;
  /** The data folder. */
  readonly #data: string;
  #mark = 0;
  /** Names of values by the place where they stand. */
  readonly #keys = new Map<number, readonly string[] | undefined>();

  constructor(name: string, data = dataFolder()) {
    this.name = name;
    this.#data = data;
  }

  /** A new segment of a run, after those that are there, which belongs to this process. */
  static claim(runId: string, data = dataFolder()): Segment {
    const last = segmentsOf(runId, data).at(-1);
    // Never a name that was there before: a mark that somebody left for it would hide what is in the new one.
    const name = `${runId}.${last ? last.number + 1 : 1}-${randomUUID().slice(0, 8)}`;
    written.add(name);
    const segment = new Segment(name, data);
    writeFileSync(segment.path("owner"), processMark(process.pid));
    return segment;
  }

  path(ending: "jsonl" | "owner" | "sent" | "files"): string {
    return join(journalFolder(this.#data), `${this.name}.${ending}`);
  }

  /** Its place among a run's segments. Journals of before there were segments are the first. */
  get number(): number {
    return Number(/\.(\d+)-[0-9a-f]+$/.exec(this.name)?.[1] ?? 0);
  }

  get runId(): string {
    return this.name.replace(/\.\d+-[0-9a-f]+$/, "");
  }

  /** Whether a living process writes to it. */
  get isOwned(): boolean {
    if (written.has(this.name)) return true;
    const owner = readText(this.path("owner"));
    // Our own number in a file that we did not write: a process before us had it, as happens in containers.
    return owner !== undefined && owner !== "" && Number.parseInt(owner, 10) !== process.pid && isAlive(owner);
  }

  /** Its writer writes no more. */
  disown(): void {
    rmSync(this.path("owner"), { force: true });
    written.delete(this.name);
  }

  /** Byte up to which the tracker has everything. */
  get acknowledged(): number {
    // Another thread or process may have sent more meanwhile.
    return Math.max(this.#mark, Number(readText(this.path("sent")) ?? 0) || 0);
  }

  acknowledge({ end }: JournalEntry): void {
    if (end === undefined || end <= this.acknowledged) return;
    this.#mark = end;
    try {
      // Written where it stands, as so few bytes are written at once or not at all; to replace a file makes a disk work.
      const file = openSync(this.path("sent"), constants.O_WRONLY | constants.O_CREAT);
      writeSync(file, String(end).padStart(16, "0"), 0);
      closeSync(file);
    } catch {
      // A disk that is full: a later process sends it all again, which does no harm.
    }
  }

  /** The next records that the tracker does not have: a piece of the file, and at least one if there is any. */
  pending(): JournalEntry[] {
    return this.#read(this.acknowledged);
  }

  /** All records, in pieces. */
  *all(): Generator<JournalEntry> {
    for (let from = 0; ; ) {
      const entries = this.#read(from);
      yield* entries;
      const end = entries.at(-1)?.end;
      if (end === undefined) return;
      from = end;
    }
  }

  /** Delete all of it. In this order: what is cut short leaves records that are sent once more, and nothing else. */
  remove(): void {
    for (const ending of ["sent", "files", "jsonl"] as const)
      rmSync(this.path(ending), { force: true, recursive: true });
    this.disown();
  }

  #keysAt(file: number, at: number): readonly string[] | undefined {
    if (!this.#keys.has(at)) this.#keys.set(at, keysIn(readLine(file, at)));
    return this.#keys.get(at);
  }

  #read(from: number): JournalEntry[] {
    let file: number;
    try {
      file = openSync(this.path("jsonl"), "r");
    } catch {
      return []; // Sent, and deleted, by another process.
    }
    try {
      const { size } = fstatSync(file);
      let bytes = Buffer.allocUnsafe(Math.max(0, Math.min(chunk, size - from)));
      for (let start = from; start < size; ) {
        const length = readSync(file, bytes, 0, bytes.length, start);
        const { entries, length: used } = parseLines(bytes.subarray(0, length), start);
        const resolved = entries.flatMap((entry) => resolveEntry(entry, (at) => this.#keysAt(file, at)) ?? []);
        if (resolved.length > 0) return resolved;
        start += used;
        if (used > 0) continue;
        if (start + length >= size) break;
        bytes = Buffer.allocUnsafe(2 * bytes.length);
      }
      return [];
    } finally {
      closeSync(file);
    }
  }
}

/** Reads a line that begins at a byte of a file. */
function readLine(file: number, at: number): Buffer {
  for (let size = 65_536; ; size *= 2) {
    const bytes = Buffer.allocUnsafe(size);
    const length = readSync(file, bytes, 0, size, at);
    const newline = bytes.subarray(0, length).indexOf(10);
    if (newline !== -1) return bytes.subarray(0, newline + 1);
    if (length < size) return Buffer.alloc(0);
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** All segments on disk, each run's in the order they were begun. */
export function allSegments(data = dataFolder()): Segment[] {
  const folder = journalFolder(data);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".jsonl") && !name.endsWith(".rejected.jsonl"))
    .map((name) => new Segment(name.slice(0, -".jsonl".length), data))
    .sort((a, b) => a.number - b.number);
}

/** A run's segments in the order they were begun. */
export const segmentsOf = (runId: string, data = dataFolder()): Segment[] =>
  allSegments(data).filter((segment) => segment.runId === runId);

/** Delete what a process that was killed while it began or deleted a segment left behind. */
export function sweep(data = dataFolder()): void {
  const folder = journalFolder(data);
  if (!existsSync(folder)) return;
  const names = readdirSync(folder);
  const stems = names.flatMap((name) => /^(.*)\.(owner|sent|files)$/.exec(name)?.[1] ?? []);
  for (const stem of new Set(stems)) {
    const segment = new Segment(stem, data);
    if (names.includes(`${stem}.jsonl`) || existsSync(segment.path("jsonl")) || segment.isOwned) continue;
    segment.remove();
  }
}
