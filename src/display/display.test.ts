import { inspect } from "node:util";
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { afterEach, describe, expect, test, vi } from "vitest";
import {
  formatCount,
  formatDuration,
  LiveOutput,
  lineChart,
  type MimeBundle,
  Progress,
  Table,
  vegaLiteMime,
} from "./index.ts";

const notebookKey = Symbol.for("anneal.notebook");
afterEach(() => {
  Reflect.deleteProperty(globalThis, notebookKey);
});

/** The picture that a page would show. */
async function draw(spec: Record<string, unknown>): Promise<string> {
  const view = new View(parse(compile(spec as unknown as TopLevelSpec).spec), { renderer: "none" });
  return view.toSVG();
}

describe("a line chart", () => {
  const points = (n: number) => Array.from({ length: n }, (_, i) => ({ x: i, y: Math.sin(i / 50) + 2 }));

  test("draws a line for each series, with markers if there are few points", async () => {
    const svg = await draw(
      lineChart([
        { name: "train loss", points: points(100) },
        { name: "validation loss", points: points(1) },
      ]),
    );
    expect(svg.match(/aria-roledescription="line mark"/g)).toHaveLength(2);
    expect(svg.match(/aria-roledescription="circle"/g)).toHaveLength(1);
    expect(svg).toContain("validation loss");
  });

  test("of ten thousand points is small and ends where the series ends", () => {
    const spec = lineChart([{ name: "loss", points: points(10_000) }]);
    const { values } = spec.data as { values: { x: number; y: number }[] };
    expect(values.length).toBeLessThanOrEqual(400);
    expect(values.at(-1)).toMatchObject(points(10_000)[9999]);
  });

  test("has ticks at whole steps only, and causes no warnings about missing points", async () => {
    const warnings: unknown[] = [];
    const spec = (n: number) =>
      compile(lineChart([{ name: "loss", points: points(n) }]) as unknown as TopLevelSpec).spec;
    const svg = async (n: number) => {
      const view = new View(parse(spec(n)), { renderer: "none" });
      view.logger().warn = (...all: unknown[]) => {
        warnings.push(all);
        return view.logger();
      };
      return view.toSVG();
    };
    const labels = [...(await svg(5)).matchAll(/<text[^>]*text-anchor="middle"[^>]*>([\d.]+)<\/text>/g)];
    expect(labels.map(([, text]) => Number(text)).every(Number.isInteger)).toBe(true);
    await svg(100);
    expect(warnings).toEqual([]);
  });

  test("omits values that cannot be drawn", async () => {
    const spec = lineChart([
      {
        name: "loss",
        points: [
          { x: 1, y: Number.NaN },
          { x: 2, y: 1 },
          { x: 3, y: Infinity },
        ],
      },
    ]);
    expect((spec.data as { values: unknown[] }).values).toHaveLength(1);
    expect(await draw(lineChart([]))).toContain("<svg");
  });
});

describe("a table", () => {
  const table = new Table(
    [{ title: "name" }, { title: "n", align: "right" }],
    [
      ["<b>&", "1"],
      ["x", "1234"],
    ],
    "a note",
  );

  test("is aligned text in a terminal", () => {
    expect(String(table)).toBe("name     n\n----  ----\n<b>&     1\nx     1234\n\na note");
    expect(inspect(table)).toBe(String(table));
  });

  test("is HTML with escaped values in a notebook", () => {
    const bundle = (table as unknown as Record<symbol, () => MimeBundle>)[Symbol.for("Jupyter.display")]();
    expect(bundle["text/html"]).toContain("&#60;b&#62;&#38;");
    expect(bundle["text/html"]).not.toContain("<b>");
  });
});

test("a live output is displayed once and then updated; outside a notebook it displays nothing", () => {
  const shown: unknown[] = [];
  new LiveOutput().show({ "text/plain": "nobody" });
  const display = (data: MimeBundle, options: object) => shown.push({ data, ...options });
  Reflect.set(globalThis, notebookKey, { display });
  const output = new LiveOutput();
  output.show({ "text/plain": "1" });
  output.show({ "text/plain": "2" });
  const [first, second] = shown as { displayId: string; update: boolean }[];
  expect([first.update, second.update]).toEqual([false, true]);
  expect(second.displayId).toBe(first.displayId);
});

test.each([
  [0, "0:00"],
  [65, "1:05"],
  [7389, "2:03:09"],
])("%d seconds are %s", (seconds, text) => expect(formatDuration(seconds)).toBe(text));

test.each([
  [999, "999"],
  [12_345, "12.3k"],
  [4_210_000, "4.21M"],
  [3.8e9, "3.80B"],
])("%d counts as %s", (count, text) => expect(formatCount(count)).toBe(text));

test("progress shows nothing for quick work, otherwise one updated line and a final line", () => {
  const shown: MimeBundle[] = [];
  const stub = { display: (bundle: MimeBundle) => shown.push(bundle) };
  Object.defineProperty(globalThis, notebookKey, { value: stub, configurable: true });
  vi.useFakeTimers({ toFake: ["performance"] });
  try {
    const progress = new Progress("Reading");
    progress.show(1, 10, "rows");
    progress.done();
    expect(shown).toEqual([]);
    vi.advanceTimersByTime(4000);
    progress.show(4, 10, "rows");
    progress.done("read");
    expect(shown.map((bundle) => bundle["text/plain"])).toEqual([
      "Reading: 4/10 rows · 0:06 left",
      "Reading: read in 0:04",
    ]);
  } finally {
    vi.useRealTimers();
  }
});

test("charts have a MIME type that JupyterLab renders", () => {
  const schema = String(lineChart([{ name: "loss", points: [{ x: 0, y: 1 }] }]).$schema);
  expect([vegaLiteMime, schema]).toEqual(["application/vnd.vegalite.v5+json", expect.stringContaining("vega-lite/v5")]);
});
