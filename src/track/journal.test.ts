import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Journal, type JournalRecord } from "./journal.ts";

let data: string;
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), "anneal-journal-"));
  process.env.ANNEAL_DATA = data;
});
afterEach(() => {
  delete process.env.ANNEAL_DATA;
  rmSync(data, { recursive: true, force: true });
});

const path = (id: string, ending = "jsonl") => join(data, "journal", `${id}.${ending}`);
const metric = (step: number, value = step / 3): JournalRecord => ({
  kind: "metrics",
  points: [{ key: "train/loss", value, timestamp: 1000 + step, step }],
});
const create: JournalRecord = { kind: "create", experiment: "e", name: "n", startTime: 1, tags: {} };
const records = (journal: Journal) => journal.pending().map(({ record }) => record);
/** What is on disk while a journal is open: as if its process had been killed at this moment. */
const snapshot = (id: string) => readFileSync(path(id));

describe("a journal", () => {
  test("gives back what was written, in order, numbers to the last bit", () => {
    const number = fc.oneof(fc.double(), fc.constantFrom(Number.NaN, Infinity, -Infinity));
    const record = fc.oneof(
      fc.record({
        kind: fc.constant("tags" as const),
        tags: fc.dictionary(fc.string({ unit: "grapheme" }), fc.string()),
      }),
      fc
        .array(fc.record({ key: fc.string(), value: number, timestamp: fc.nat(), step: fc.integer() }))
        .map((points) => ({
          kind: "metrics" as const,
          points,
        })),
    );
    fc.assert(
      fc.property(fc.array(record), (written) => {
        const journal = new Journal("any");
        for (const one of written) journal.append(one);
        // JSON has no negative zero, and no tracker tells it from zero.
        const plain = (all: unknown) =>
          JSON.stringify(all, (_, v) => (typeof v === "number" && !Number.isFinite(v) ? String(v) : v));
        expect(plain(records(journal))).toBe(plain(written));
        journal.acknowledge(statSync(path("any")).size);
        journal.close();
      }),
      { numRuns: 50 },
    );
  });

  test("cut short anywhere by a crash keeps every line that was whole, and goes on after it", () => {
    const journal = new Journal("torn");
    const ends = [0];
    for (const one of [create, metric(1), { kind: "tags", tags: { ключ: "значение" } } as const, metric(2)]) {
      journal.append(one);
      ends.push(statSync(path("torn")).size);
    }
    const bytes = snapshot("torn");
    journal.close();
    for (let length = 0; length <= bytes.length; length++) {
      writeFileSync(path("torn"), bytes.subarray(0, length));
      const again = new Journal("torn");
      const whole = ends.filter((end) => end > 0 && end <= length).length;
      expect(again.all()).toHaveLength(whole);
      again.append(metric(99));
      expect(again.all().at(-1)?.record).toEqual(metric(99));
      expect(again.all()).toHaveLength(whole + 1);
      again.close();
    }
  });

  test("with a changed byte is read up to the line before it", () => {
    const journal = new Journal("changed");
    for (const step of [1, 2, 3]) journal.append(metric(step));
    const [first, second] = journal.all();
    const bytes = snapshot("changed");
    bytes[(first.end + second.end) >> 1] ^= 1;
    writeFileSync(path("changed"), bytes);
    expect(records(journal)).toEqual([metric(1)]);
    journal.close();
  });

  test("sends again only what was not acknowledged, and never takes an acknowledgement back", () => {
    const journal = new Journal("sent");
    for (const step of [1, 2, 3]) journal.append(metric(step));
    const [first, second] = journal.all();
    journal.acknowledge(second.end);
    expect(records(journal)).toEqual([metric(3)]);
    journal.acknowledge(first.end);
    expect(records(journal)).toEqual([metric(3)]);
    journal.close();
    const later = new Journal("sent");
    expect(records(later)).toEqual([metric(3)]);
    expect(later.pending(1)).toHaveLength(1);
    later.close();
  });

  test("is deleted by the last to close it, and only when all has arrived", () => {
    const [one, other] = [new Journal("shared"), new Journal("shared")];
    one.append(metric(1));
    other.append(metric(2));
    one.append(metric(3));
    expect(records(other)).toEqual([metric(1), metric(2), metric(3)]);
    other.acknowledge(statSync(path("shared")).size);
    other.close();
    expect(existsSync(path("shared"))).toBe(true);
    one.append(metric(4));
    one.close();
    expect(Journal.orphans()).toEqual(["shared"]);

    const last = new Journal("shared");
    expect(Journal.orphans()).toEqual([]);
    expect(records(last)).toEqual([metric(4)]);
    last.acknowledge(statSync(path("shared")).size);
    last.close();
    expect(readdirSync(join(data, "journal"))).toEqual([]);
  });

  test("belongs to a living process; to a dead one, or one that had our number, no longer", () => {
    const journal = new Journal("owned");
    journal.append(create);
    journal.close();
    const owner = (pid: number) => writeFileSync(path("owned", "owner"), String(pid));
    owner(process.ppid);
    expect(Journal.orphans()).toEqual([]);
    owner(2 ** 22 + 1);
    expect(Journal.orphans()).toEqual(["owned"]);
    owner(process.pid);
    expect(Journal.orphans()).toEqual(["owned"]);
  });

  test("that another process goes on with meanwhile is left to that one", () => {
    const journal = new Journal("taken");
    journal.append(create);
    journal.acknowledge(statSync(path("taken")).size);
    writeFileSync(path("taken", "owner"), String(process.ppid));
    journal.close();
    expect(existsSync(path("taken"))).toBe(true);
  });

  test("of any length, with records of any length, is read", () => {
    const journal = new Journal("long");
    const long: JournalRecord = { kind: "tags", tags: { text: "é".repeat(5 * 2 ** 20) } };
    journal.append(metric(1));
    journal.append(long);
    journal.append(metric(2));
    for (let step = 0; step < 1000; step++) journal.append(metric(step));
    expect(journal.pending().length).toBe(1003);
    expect(journal.pending(2).length).toBe(2);
    expect(journal.all()[1].record).toEqual(long);
    // Torn in the middle of a long one.
    appendFileSync(
      path("long"),
      snapshot("long")
        .subarray(0, 6 * 2 ** 20)
        .subarray(200),
    );
    journal.close();
    const again = new Journal("long");
    expect(again.all()).toHaveLength(1003);
    again.close();
  });
});
