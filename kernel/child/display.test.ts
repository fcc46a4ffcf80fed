import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type CellOutcome, sharedKernel } from "../cells.test.helper.ts";

const shared = sharedKernel();

type Bundle = Record<string, string>;
const bundles = ({ messages }: CellOutcome): Bundle[] =>
  messages
    .filter(({ header }) => /^(execute_result|(update_)?display_data)$/.test(header.msg_type))
    .map(({ content }) => content.data as Bundle);
const bundle = (outcome: CellOutcome): Bundle => bundles(outcome)[0] ?? {};

/** The text content of HTML. */
const words = (html = ""): string =>
  html
    .replace(/<style>.*?<\/style>/gs, "")
    .replace(/<[^>]+>/g, " ")
    .replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))
    .replace(/\s+/g, " ")
    .trim();

describe("a tree", () => {
  test("is shown for nested values: objects, maps, sets, instances, errors, and arrays in groups", async () => {
    const data = bundle(
      await shared.current.ok(`
        class Point { constructor(public x: number, public y: number) {} #hidden = 1 }
        ({
          list: Array.from({ length: 250 }, (_, i) => i),
          map: new Map<unknown, unknown>([["key", { deep: { deeper: [1] } }]]), set: new Set([1, "<two>"]),
          point: new Point(3, 4), error: new RangeError("too far"), typed: new Float32Array(3).fill(0.5),
          when: new Date(0), nothing: null, call: function named() {},
        })`),
    );
    const text = words(data["text/html"]);
    for (const part of [
      "list : Array(250) [0, 1, 2,",
      "[0 … 99]",
      "[200 … 249]",
      "map : Map(1) {'key' => {…}}",
      "deeper : Array(1) [1]",
      "set : Set(2) {1, '<two>'}",
      "point : Point {x: 3, y: 4}",
      "error : RangeError: too far",
      "typed : Float32Array(3) [0.5, 0.5, 0.5]",
      "when : 1970-01-01T00:00:00.000Z",
      "nothing : null",
      "[Function: named]",
    ]) {
      expect(text).toContain(part);
    }
    expect(text).not.toContain("hidden");
    expect(data["text/plain"]).toContain("map: Map(1)");
    expect(data["text/html"]).not.toContain("<script");
  });

  test("detects cycles, calls no getters, and respects custom inspect functions", async () => {
    const data = bundle(
      await shared.current.ok(`
        const circle: Record<string, unknown> = { filler: "x".repeat(120) };
        circle.self = circle;
        Object.defineProperty(circle, "trap", { enumerable: true, get() { throw new Error("ran") } });
        circle.own = { [Symbol.for("nodejs.util.inspect.custom")]: () => "written by itself" };
        circle`),
    );
    const text = words(data["text/html"]);
    expect(text).toContain("self : [circular]");
    expect(text).toContain("trap : [Getter]");
    expect(text).toContain("own : written by itself");
  });

  test("is not shown for values that fit on a line or have a custom inspect function", async () => {
    for (const code of ["({ a: 1, b: [2] })", "'text\\n'.repeat(3)", "new Error('shown as text')", "42"]) {
      expect(Object.keys(bundle(await shared.current.ok(code))), code).toEqual(["text/plain"]);
    }
    const custom = `new (class { long = "x".repeat(99); [Symbol.for("nodejs.util.inspect.custom")]() { return "a\\nb" } })()`;
    expect(bundle(await shared.current.ok(custom))).toEqual({ "text/plain": "a\nb" });
  });

  test("of ten million numbers is small and fast, and says how to see more", async () => {
    const start = performance.now();
    const data = bundle(await shared.current.ok("new Float32Array(10_000_000)"));
    expect(performance.now() - start).toBeLessThan(1500);
    expect(data["text/html"]?.length).toBeLessThan(300_000);
    const many = "Object.fromEntries(Array.from({ length: 3000 }, (_, i) => ['key' + i, i]))";
    const cut = words(bundle(await shared.current.ok(many))["text/html"]);
    expect(cut).toContain("… 1000 more; display(value, { full: true }) shows all");
    expect(words(bundle(await shared.current.ok(`display(${many}, { full: true })`))["text/html"])).toContain(
      "key2999",
    );
  });
});

describe("a table", () => {
  test("is shown for an array of records, with the rank of each row in each column for sorting", async () => {
    const html =
      bundle(await shared.current.ok('[{ name: "b10", n: 2 }, { name: "b9", n: 10 }, { name: "a", more: [1] }]'))[
        "text/html"
      ] ?? "";
    expect(words(html)).toContain("b10 2 1 b9 10 2 a [ 1 ]");
    expect([...html.matchAll(/<tr style="([^"]+)">/g)].map(([, style]) => style)).toEqual([
      "--c0:2;--c1:0;--c2:1",
      "--c0:1;--c1:1;--c2:2",
      "--c0:0;--c1:2;--c2:0",
    ]);
    expect(html).not.toContain("<script");
  });

  test("is shown for instances of one class, but not for mixed values or custom inspect functions", async () => {
    const html = async (code: string) => bundle(await shared.current.ok(code))["text/html"] ?? "";
    expect(await html("class Row { a = 1 }; [new Row(), new Row()]")).toContain("<table");
    expect(await html("[new Map([[1, 2]]), new Map()]")).not.toContain("<table");
    expect(await html("[{ a: 1 }, 2]")).not.toContain("<table");
    expect(await html("[[1], [2]]")).not.toContain("<table");
  });

  test("is truncated to 200 rows with a hint, and complete with full: true", async () => {
    const rows = "Array.from({ length: 300 }, (_, i) => ({ i }))";
    const cut = bundle(await shared.current.ok(rows))["text/html"] ?? "";
    expect(cut.match(/<tr style/g)).toHaveLength(200);
    expect(words(cut)).toContain("200 of 300 rows; display(value, { full: true }) shows all");
    const whole = bundle(await shared.current.ok(`display(${rows}, { full: true })`))["text/html"];
    expect(whole?.match(/<tr style/g)).toHaveLength(300);
  });
});

describe("data of one MIME type", () => {
  test("is displayed with helpers such as display.html", async () => {
    writeFileSync(join(shared.current.folder, "dot.gif"), Buffer.from([1, 2, 3]));
    const displays = bundles(
      await shared.current.ok(`
        display.html("<b>x</b>"); display.markdown("**x**"); display.svg("<svg/>"); display.latex("x^2");
        display.latex("for $x$"); display.png(new Uint8Array([1, 2, 3])); display.gif(__dirname + "/dot.gif");
        display.json({ a: [1] }); display.vegaLite({ mark: "bar" }); display.raw("text/x-own", "own"); display.text("t");`),
    );
    expect(displays).toEqual([
      { "text/html": "<b>x</b>", "text/plain": "<b>x</b>" },
      { "text/markdown": "**x**", "text/plain": "**x**" },
      { "image/svg+xml": "<svg/>", "text/plain": "SVG image, 6 characters" },
      { "text/latex": "$$x^2$$", "text/plain": "x^2" },
      { "text/latex": "for $x$", "text/plain": "for $x$" },
      { "image/png": "AQID" },
      { "image/gif": "AQID" },
      { "application/json": { a: [1] }, "text/plain": '{\n  "a": [\n    1\n  ]\n}' },
      { "application/vnd.vegalite.v5+json": { mark: "bar" } },
      { "text/x-own": "own" },
      { "text/plain": "t" },
    ]);
  });

  test("is detected in Vega-Lite specifications, DOM elements and canvases", async () => {
    const types = async (code: string) => Object.keys(bundle(await shared.current.ok(code)));
    const schema = "https://vega.github.io/schema/vega-lite/v6.json";
    expect(await types(`({ $schema: "${schema}", mark: "bar" })`)).toContain("application/vnd.vegalite.v5+json");
    expect(await types(`({ toSpec: () => ({ $schema: "${schema}" }) })`)).toContain("application/vnd.vegalite.v5+json");
    expect(await types('({ nodeType: 1, outerHTML: "<svg></svg>" })')).toContain("image/svg+xml");
    expect(await types('({ nodeType: 1, outerHTML: "<p></p>" })')).toContain("text/html");
    expect(await types('({ toDataURL: () => "data:image/png;base64,AQID" })')).toContain("image/png");
  });
});

test("a notebook written for tslab runs", async () => {
  const outcome = await shared.current.ok(`
    import * as tslab from "tslab";
    tslab.display.html("<i>x</i>");
    tslab.display.png(new Uint8Array([1]));
    const d: tslab.Display = tslab.newDisplay();
    d.text("first");
    d.markdown("second");
    tslab.versions.node`);
  expect(outcome.result).toBe(`'${process.versions.node}'`);
  const displays = outcome.messages.filter(({ header }) => header.msg_type.endsWith("display_data"));
  expect(displays.map(({ header }) => header.msg_type)).toEqual([
    "display_data",
    "display_data",
    "display_data",
    "update_display_data",
  ]);
  const [, , first, second] = displays;
  expect(second?.content.transient).toEqual(first?.content.transient);
  expect((await shared.current.run("tslab.display.png('not bytes', 2)")).ename).toBe("TS2554");
});
