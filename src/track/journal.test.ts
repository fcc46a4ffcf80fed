import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Journal } from "./journal.ts";
import { encodeMetrics, encodeRecord, type JournalEntry, type JournalRecord, lineOf, parseLines } from "./records.ts";
import { type Segment, segmentsOf } from "./segment.ts";

let data: string;
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), "anneal-journal-"));
  process.env.ANNEAL_DATA = data;
});
afterEach(() => {
  delete process.env.ANNEAL_DATA;
  rmSync(data, { recursive: true, force: true });
});

const metric = (step: number, value = step / 3): JournalRecord => ({
  kind: "metrics",
  points: [{ key: "train/loss", value, timestamp: 1000 + step, step }],
});
const create: JournalRecord = { kind: "create", experiment: "e", name: "n", startTime: 1, tags: {} };
const recordsOf = (entries: Iterable<JournalEntry>) => [...entries].map(({ record }) => record);
const folder = () => join(data, "journal");
/** The segment that a journal writes just now. */
const segment = (id: string): Segment => segmentsOf(id).at(-1) ?? expect.fail(`no segment of ${id}`);
/** What is on disk while a journal is open: as if its process had been killed at this moment. */
const snapshot = (id: string) => readFileSync(segment(id).path("jsonl"));
/** As if this had been left by a process that is gone. */
function leave(name: string, bytes: Uint8Array, owner = String(2 ** 22 + 1)): void {
  mkdirSync(folder(), { recursive: true });
  writeFileSync(join(folder(), `${name}.jsonl`), bytes);
  writeFileSync(join(folder(), `${name}.owner`), owner);
}
const lines = (...records: JournalRecord[]) => Buffer.concat(records.map((record) => lineOf(encodeRecord(record))));
const arrived = (journal: Journal) => {
  for (let all = journal.pending(); all.length > 0; all = journal.pending()) journal.acknowledge(all[all.length - 1]);
};

describe("a journal", () => {
  test("returns what was written, in order, with bit-identical numbers", async () => {
    const number = fc.oneof(fc.double(), fc.constantFrom(Number.NaN, Infinity, -Infinity));
    const text = fc.string({ unit: "grapheme" });
    // Few and many, the same names again and others.
    const few = fc.dictionary(text, number);
    const many = fc.array(number, { minLength: 20, maxLength: 25 }).map((all) => Object.fromEntries(all.entries()));
    const metrics = fc.record({ values: fc.oneof(few, many), time: fc.nat(), step: fc.integer() });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(fc.dictionary(text, text), metrics)), async (written) => {
        const journal = new Journal("any");
        const expected: JournalRecord[] = written.map((one) => {
          const { values, time, step } = one as { values: Record<string, number>; time: number; step: number };
          if (typeof values !== "object") {
            const record = { kind: "tags", tags: one as Record<string, string> } as const;
            journal.append(record);
            return record;
          }
          journal.appendMetrics(values, time, step);
          const points = Object.entries(values).map(([key, value]) => ({ key, value, timestamp: time, step }));
          return { kind: "metrics", points };
        });
        // JSON has no negative zero, and no tracker tells it from zero.
        expect(recordsOf(journal.all()).map(encodeRecord)).toEqual(expected.map(encodeRecord));
        arrived(journal);
        await journal.close();
        expect(readdirSync(folder())).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  test("counts points with any keys, and returns them in the format in which they are sent", () => {
    const values = { '{"key":': 1, "plain, with a comma": Number.NaN, "": -0 };
    const [entry] = parseLines(lineOf(encodeMetrics(Object.keys(values), Object.values(values), 5, 6)), 0).entries;
    expect(entry.isMetrics).toBe(true);
    expect(entry.pointCount).toBe(3);
    expect(JSON.parse(`[${entry.points}]`)).toEqual([
      { key: '{"key":', value: 1, timestamp: 5, step: 6 },
      { key: "plain, with a comma", value: "NaN", timestamp: 5, step: 6 },
      { key: "", value: 0, timestamp: 5, step: 6 },
    ]);
    const [tags] = parseLines(lines({ kind: "tags", tags: { '{"key":': '{"kind":"metrics","points":[' } }), 0).entries;
    expect(tags.isMetrics).toBe(false);
  });

  test("keeps all complete lines if a crash truncates it anywhere", () => {
    const records = [create, metric(1), { kind: "tags", tags: { ключ: "значение" } } as const, metric(2)];
    const bytes = lines(...records);
    const ends = records.map((_, i) => lines(...records.slice(0, i + 1)).length);
    leave("torn.1-00000000", bytes);
    for (let length = 0; length <= bytes.length; length++) {
      writeFileSync(join(folder(), "torn.1-00000000.jsonl"), bytes.subarray(0, length));
      expect([...segment("torn").all()]).toHaveLength(ends.filter((end) => end <= length).length);
    }
  });

  test("loses only the line in which a byte was changed", () => {
    const records = [metric(1), metric(2), metric(3)];
    const bytes = lines(...records);
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] ^= 1;
      const read = recordsOf(parseLines(changed, 0).entries).map(encodeRecord);
      const whole = records.filter((_, i) => {
        const [start, end] = [lines(...records.slice(0, i)).length, lines(...records.slice(0, i + 1)).length];
        // A line's end that is lost takes the next line with it; the space after a checksum says nothing.
        return at === start + 8 || !(at >= start - 1 && at < end);
      });
      expect(read).toEqual(whole.map(encodeRecord));
    }
  });

  test("repeats the names of values for readers that start later, and loses few values if names are damaged", async () => {
    const journal = new Journal("names");
    const values = (step: number) => Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`m${i}`, step + i / 7]));
    for (let step = 0; step < 1000; step++) journal.appendMetrics(values(step), 1, step);
    const bytes = snapshot("names");
    expect(bytes.length).toBeLessThan(1000 * 1300);
    journal.acknowledge([...journal.all()][499]);
    await journal.close();
    const [next] = segment("names").pending();
    const points = Object.entries(values(500)).map(([key, value]) => ({ key, value, timestamp: 1, step: 500 }));
    expect(next.record).toEqual({ kind: "metrics", points });

    bytes[12] ^= 1;
    leave("damaged.1-00000000", bytes);
    const steps = recordsOf(segment("damaged").all()).map((one) => one.kind === "metrics" && one.points[0].step);
    expect(steps).toEqual(Array.from({ length: 1000 - 256 }, (_, i) => 256 + i));
  });

  test("resends only what was not acknowledged, and never revokes an acknowledgement", async () => {
    const journal = new Journal("sent");
    for (const step of [1, 2, 3]) journal.append(metric(step));
    const [first, second] = journal.pending();
    journal.acknowledge(second);
    expect(recordsOf(journal.pending())).toEqual([metric(3)]);
    journal.acknowledge(first);
    expect(recordsOf(journal.pending())).toEqual([metric(3)]);
    await journal.close();
    expect(recordsOf(segment("sent").pending())).toEqual([metric(3)]);
    expect(Journal.orphans()).toEqual(["sent"]);
  });

  test("has one file per writer, which only its writer deletes", async () => {
    const [one, other] = [new Journal("shared"), new Journal("shared")];
    one.append(metric(1));
    other.append(metric(2));
    arrived(other);
    await other.close();
    expect(recordsOf(segment("shared").pending())).toEqual([metric(1)]);
    expect(Journal.orphans()).toEqual([]);
    one.append(metric(3));
    await one.close();
    expect(Journal.orphans()).toEqual(["shared"]);
    const [left] = segmentsOf("shared");
    expect(recordsOf(left.all())).toEqual([metric(1), metric(3)]);
    // Somebody else sent and deleted it meanwhile.
    left.remove();
    expect(left.pending()).toEqual([]);
    expect(readdirSync(folder())).toEqual([]);
  });

  test("belongs to a running process, but not to a dead one or one with a reused process id", () => {
    const alive = (owner: string) => {
      leave("owned.1-00000000", lines(create), owner);
      return !Journal.isOrphan("owned");
    };
    const start = readFileSync(`/proc/${process.ppid}/stat`, "latin1").split(") ").at(-1)?.split(" ")[19];
    expect(alive(`${process.ppid} ${start}`)).toBe(true);
    expect(alive(`${process.ppid}`)).toBe(true);
    expect(alive(`${process.ppid} 1`)).toBe(false);
    expect(alive(`${2 ** 22 + 1}`)).toBe(false);
    expect(alive(`${process.pid}`)).toBe(false);
    expect(alive("")).toBe(false);
  });

  test("of an older version is sent before newer records", async () => {
    leave("old", lines(create, metric(1)));
    const journal = new Journal("old");
    journal.append(metric(2));
    expect(segmentsOf("old").map(({ number }) => number)).toEqual([0, 1]);
    expect(segmentsOf("old").flatMap((one) => recordsOf(one.all()))).toEqual([create, metric(1), metric(2)]);
    await journal.close();
  });

  test("leaves no partial or deleted files behind when its process is killed", () => {
    mkdirSync(join(folder(), "begun.1-00000000.files"), { recursive: true });
    for (const name of ["begun.1-00000000.owner", "begun.2-00000000.sent"]) {
      writeFileSync(join(folder(), name), String(2 ** 22 + 1));
    }
    expect(Journal.orphans()).toEqual([]);
    expect(readdirSync(folder())).toEqual([]);
  });

  test("can be read at any length, with records of any length", async () => {
    const long: JournalRecord = { kind: "tags", tags: { text: "é".repeat(5 * 2 ** 20) } };
    const journal = new Journal("long");
    journal.append(metric(1));
    journal.append(long);
    journal.append(metric(2));
    for (let step = 0; step < 20_000; step++) journal.append(metric(step));
    expect([...journal.all()]).toHaveLength(20_003);
    expect([...journal.all()][1].record).toEqual(long);
    // A piece at a time, whatever the length.
    expect(journal.pending().length).toBeLessThan(20_000);
    const bytes = snapshot("long");
    await journal.close();
    // Torn in the middle of the long one.
    leave("cut.1-00000000", bytes.subarray(0, 6 * 2 ** 20));
    expect([...segment("cut").all()]).toHaveLength(1);
  });

  test("keeps records in memory while the disk is full, sends them from there, and writes them later", async () => {
    // A file stands where the folder is to be.
    writeFileSync(folder(), "");
    const journal = new Journal("full");
    journal.append(create);
    journal.append(metric(1));
    expect(recordsOf(journal.pending())).toEqual([create, metric(1)]);
    journal.acknowledge(journal.pending()[0]);
    expect(recordsOf(journal.pending())).toEqual([metric(1)]);
    rmSync(folder());
    await journal.flush();
    journal.append(metric(2));
    expect(recordsOf(segment("full").all())).toEqual([metric(1), metric(2)]);
    arrived(journal);
    await journal.close();
    expect(existsSync(folder()) && readdirSync(folder())).toEqual([]);
  });
});
