import { describe, expect, test } from "vitest";
import { comparePoints, type RerunReport, showReport } from "./rerun.ts";

const points = (...values: number[]) => values.map((value, i) => ({ step: i + 1, value }));

describe("comparing a metric's points", () => {
  test("finds equal ones equal, whatever they are", () => {
    const odd = points(1 / 3, Number.NaN, Infinity, -Infinity, 5e-324);
    expect(comparePoints("loss", odd, odd)).toEqual({ key: "loss", points: [5, 5], different: 0, largest: 0 });
    expect(comparePoints("loss", [], []).different).toBe(0);
  });

  test("finds the last bit", () => {
    const found = comparePoints("loss", points(0.1 + 0.2, 2), points(0.3, 2));
    expect(found).toMatchObject({ different: 1, first: { step: 1, recorded: 0.1 + 0.2, rerun: 0.3 } });
    expect(found.largest).toBeGreaterThan(0);
    expect(found.largest).toBeLessThan(1e-15);
  });

  test("says where it begins, how many there are, and how far they go", () => {
    const found = comparePoints("loss", points(1, 2, 4, 8), points(1, 2.5, 4, 4));
    expect(found).toEqual({
      key: "loss",
      points: [4, 4],
      different: 2,
      first: { step: 2, recorded: 2, rerun: 2.5 },
      largest: 0.5,
    });
  });

  test("counts points that only one side has, and the same value at another step", () => {
    expect(comparePoints("loss", points(1, 2, 3), points(1, 2))).toMatchObject({ points: [3, 2], different: 1 });
    expect(comparePoints("loss", [], points(1, 2))).toMatchObject({ points: [0, 2], different: 2 });
    const later = points(1).map(({ value }) => ({ step: 9, value }));
    expect(comparePoints("loss", points(1), later).different).toBe(1);
  });
});

describe("the report", () => {
  const report = (change: Partial<RerunReport>): RerunReport => ({
    runId: "old",
    rerunId: "new",
    metrics: [comparePoints("loss", points(1, 2), points(1, 2)), comparePoints("rate", points(1), points(1))],
    environment: [],
    same: true,
    ...change,
  });

  test("of a run that came out the same is one line", () => {
    expect(showReport(report({}))).toBe("Same: 3 points of 2 metrics, all bitwise equal (run new).");
  });

  test("of one that did not is a table of what differs, and of what is different here", () => {
    const text = showReport(
      report({
        metrics: [comparePoints("loss", points(1, 2), points(1, 2.5)), comparePoints("rate", points(1), points(1))],
        environment: [{ what: "processor", recorded: "old one", now: "new one" }],
        same: false,
      }),
    );
    expect(text.split("\n")).toEqual([
      "metric  differs in  first at step  recorded  rerun  most",
      "loss    1 of 2      2              2         2.5    25 %",
      "",
      "Differences in the environment:",
      "  processor  old one  →  new one",
      "Not the same: 1 of 2 metrics differ.",
    ]);
  });

  test("says how many points each side has when one has more", () => {
    const metrics = [comparePoints("loss", points(1, 2, 3), points(1))];
    expect(showReport(report({ metrics, same: false }))).toContain("3 recorded, 1 now");
  });

  test("says when the notebook stopped, or made no run to compare with", () => {
    const text = showReport(report({ rerunId: undefined, metrics: [], same: false, error: "cell 2: Error: no" }));
    expect(text).toContain("The notebook stopped with an error: cell 2: Error: no");
    expect(text).toContain("It started no run that corresponds to old.");
    expect(text).not.toContain("Same:");
  });
});
