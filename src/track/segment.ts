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

/** Bytes per read. The buffer grows for longer records. */
const chunk = 2 ** 20;

/** Names of the segments that this process writes. */
const written = new Set<string>();

/** Returns the folder of journals in a data folder. */
export const journalFolder = (data: string) => join(data, "journal");

/** Identifies a process by its id and start time, because ids are reused. */
const processMark = (pid: number): string => `${pid} ${startOf(pid) ?? ""}`.trim();

/** Returns the start time of a process in clock ticks; undefined when the system does not report it. */
function startOf(pid: number): string | undefined {
  try {
    // The program's name is in parentheses and may contain anything; the start time is the 20th field after it.
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
 * One file of a run's journal. A segment has a single writer; a process that resumes the run starts a new segment. A process
 * that sends the journals of dead processes can therefore delete their segments safely.
 *
 * Next to `<name>.jsonl` are `<name>.owner` (the writer), `<name>.sent` (offset up to which the tracker has all records)
 * and the folder `<name>.files` (files to send).
 */
export class Segment {
  readonly name: string;
  /** The data folder. */
  readonly #data: string;
  #mark = 0;
  /** Lists of metric names by their offset. */
  readonly #keys = new Map<number, readonly string[] | undefined>();

  constructor(name: string, data = dataFolder()) {
    this.name = name;
    this.#data = data;
  }

  /** Creates a new segment of a run, owned by this process. */
  static claim(runId: string, data = dataFolder()): Segment {
    const last = segmentsOf(runId, data).at(-1);
    // Names are never reused: a leftover .sent file would hide the new segment's records.
    const name = `${runId}.${last ? last.number + 1 : 1}-${randomUUID().slice(0, 8)}`;
    written.add(name);
    const segment = new Segment(name, data);
    writeFileSync(segment.path("owner"), processMark(process.pid));
    return segment;
  }

  path(ending: "jsonl" | "owner" | "sent" | "files"): string {
    return join(journalFolder(this.#data), `${this.name}.${ending}`);
  }

  /** Position among a run's segments; 0 for journals from before segments existed. */
  get number(): number {
    return Number(/\.(\d+)-[0-9a-f]+$/.exec(this.name)?.[1] ?? 0);
  }

  get runId(): string {
    return this.name.replace(/\.\d+-[0-9a-f]+$/, "");
  }

  /** Whether a live process writes to it. */
  get isOwned(): boolean {
    if (written.has(this.name)) return true;
    const owner = readText(this.path("owner"));
    // Our own process id in a file that we did not write is that of an earlier process, as happens in containers.
    return owner !== undefined && owner !== "" && Number.parseInt(owner, 10) !== process.pid && isAlive(owner);
  }

  /** Marks the segment as no longer written. */
  disown(): void {
    rmSync(this.path("owner"), { force: true });
    written.delete(this.name);
  }

  /** Offset up to which the tracker has all records. */
  get acknowledged(): number {
    // Another thread or process may have sent more.
    return Math.max(this.#mark, Number(readText(this.path("sent")) ?? 0) || 0);
  }

  acknowledge({ end }: JournalEntry): void {
    if (end === undefined || end <= this.acknowledged) return;
    this.#mark = end;
    try {
      // Overwritten in place: so few bytes are written atomically, and replacing the file would be slower.
      const file = openSync(this.path("sent"), constants.O_WRONLY | constants.O_CREAT);
      writeSync(file, String(end).padStart(16, "0"), 0);
      closeSync(file);
    } catch {
      // When the disk is full, a later process sends the records again, which is harmless.
    }
  }

  /** Returns the next records to send: one chunk of the file, with at least one record if there is any. */
  pending(): JournalEntry[] {
    return this.#read(this.acknowledged);
  }

  /** Returns all records, chunk by chunk. */
  *all(): Generator<JournalEntry> {
    for (let from = 0; ; ) {
      const entries = this.#read(from);
      yield* entries;
      const end = entries.at(-1)?.end;
      if (end === undefined) return;
      from = end;
    }
  }

  /** Deletes the segment. The order ensures that an interrupted deletion leaves at most records that are sent again. */
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
      return []; // Sent and deleted by another process.
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

/** Reads the line at an offset of a file. */
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

/** Returns all segments on disk, ordered by their position in each run. */
export function allSegments(data = dataFolder()): Segment[] {
  const folder = journalFolder(data);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".jsonl") && !name.endsWith(".rejected.jsonl"))
    .map((name) => new Segment(name.slice(0, -".jsonl".length), data))
    .sort((a, b) => a.number - b.number);
}

/** Returns a run's segments in order. */
export const segmentsOf = (runId: string, data = dataFolder()): Segment[] =>
  allSegments(data).filter((segment) => segment.runId === runId);

/** Deletes files of processes that were killed while they created or deleted a segment. */
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
