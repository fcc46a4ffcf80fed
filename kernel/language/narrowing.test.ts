import { describe, expect, test } from "vitest";
import { sharedKernel } from "../cells.test.helper.ts";
import { flowOf } from "./flow.ts";
import { type Narrowings, narrowingsAfter } from "./narrowing.ts";

const shared = sharedKernel();

/** Runs cells that must succeed in order. */
async function cells(...sources: string[]): Promise<void> {
  for (const source of sources) await shared.current.ok(source);
}

async function refused(source: string): Promise<string> {
  return (await shared.current.run(source)).ename;
}

const union = `
  function either<T>(value: T): T { return value; }
  interface Circle { kind: "circle"; radius: number }
  interface Square { kind: "square"; side: number }
  type Shape = Circle | Square;`;

describe("a constant that a cell narrowed stays narrowed", () => {
  test("by typeof and throw, in the same cell and in a later one", async () => {
    await cells(
      `${union} const a = either<string | number>("text"); if (typeof a !== "string") throw new Error();`,
      "a.length",
      `const b = either<string | number | boolean>("text")`,
      `if (typeof b === "number") throw new Error()`,
      `if (typeof b === "boolean") throw new Error()`,
      "b.length",
      "const length = () => b.length; function size(): number { return b.length }",
    );
    await cells('const ab: string | number = "text"', "ab.length");
    await cells(`const b = either<string | number>(5)`);
    expect(await refused("b.length")).toBe("TS2339");
  });

  test("by truthiness, equality, in, instanceof, and the discriminant of a union", async () => {
    await cells(
      `${union} const c = either<string | undefined>("text"); const d = either<string | null>("text");
       const e = either<{ left: 1 } | { right: 2 }>({ right: 2 }); const f = either<Error | string>(new Error("x"));
       const g = either<Shape>({ kind: "circle", radius: 1 }); const h = either<unknown>("text");
       const i = either<Shape>({ kind: "square", side: 1 });`,
      `if (!c) throw new Error(); if (d === null) { throw new Error() }`,
      `if (!("right" in e)) throw new Error(); if (!(f instanceof Error)) throw new Error();`,
      `if (g.kind !== "circle") throw new Error(); if (typeof h !== "string") throw new Error();`,
      `switch (i.kind) { case "circle": throw new Error(); }`,
      "c.length + d.length + e.right + f.message + g.radius + h.length + i.side",
    );
  });

  test("by assertion functions of node:assert and of cells", async () => {
    await cells(
      `${union} import assert from "node:assert"; import { ok } from "node:assert/strict";
       function isText(value: unknown): asserts value is string { if (typeof value !== "string") throw new Error() }
       const j = either<string | undefined>("text"), k = either<string | undefined>("text");
       const l = either<unknown>("text"), m = either<string | undefined>("text");`,
      "assert(j)",
      "ok(k !== undefined); isText(l)",
      "assert.ok(m)",
      "j.length + k.length + l.length + m.length",
    );
  });

  test("by a function that returns never, an aliased condition, and destructuring", async () => {
    await cells(
      `${union} function fail(): never { throw new Error() }
       const n = either<string | undefined>("text"), o = either<string | number>("text");
       const { kind, value } = either<{ kind: "text"; value: string } | { kind: "none"; value: undefined }>(
         { kind: "text", value: "a" });`,
      "if (n === undefined) fail()",
      `const isText = typeof o === "string"; if (!isText) throw new Error()`,
      "n.length + o.length",
    );
  });

  test("including its members", async () => {
    await cells(
      `${union} const config = either<{ path?: string; inner?: { size?: number } }>({ path: "a", inner: { size: 1 } });
       if (!config.path) throw new Error()`,
      "if (!config.inner?.size) throw new Error()",
      "config.path.length + config.inner.size.toFixed().length",
      "config.inner.size = undefined",
    );
    expect(await refused("config.inner.size.toFixed()")).toBe("TS18048");
    await cells("config.path.length");
  });

  test("but not by a cell that failed, nor by a test that does not end the cell", async () => {
    await cells(
      `${union} const p = either<string | number>("text"); const q = either<string | number>("text")`,
      `if (typeof p !== "string") console.log("a number")`,
    );
    expect(await refused("p.length")).toBe("TS2339");
    expect(await refused(`if (typeof q !== "string") throw new Error(); throw new RangeError()`)).toBe("RangeError");
    expect(await refused("q.length")).toBe("TS2339");
  });
});

describe("a variable that a cell narrowed", () => {
  test("is read as narrowed and assigned as declared", async () => {
    await cells(
      `${union} let r: string | number = either<string | number>("text");`,
      `if (typeof r !== "string") throw new Error()`,
      "r.length",
      "r = 5",
      "r.toFixed()",
      "r = 'text'; r.length",
    );
    expect(await refused("r = true")).toBe("TS2322");
    expect(await refused("r.toFixed()")).toBe("TS2551");
  });

  test("is narrowed by assignment, including its initializer", async () => {
    await cells("let s: string | undefined;", 's = "a"', "s.length", "s = undefined");
    expect(await refused("s.length")).toMatch(/^TS/);
    await cells('let t: string | undefined = "a"', "t.length", "let u; u = 5", "u.toFixed()", 'u = "text"', "u.length");
  });

  test("keeps its literal union type after an assignment", async () => {
    await cells('let mode: "train" | "eval" = "train"', "const old = mode;", 'mode = "eval"');
    await cells('if (mode === "train") console.log("training")', 'const other: typeof old = "eval"');
    await cells('if (mode !== "eval") throw new Error()', 'const exact: "eval" = mode', 'mode === "train"');
  });

  test("is not narrowed in functions, nor if functions assign to it", async () => {
    await cells('let v: string | undefined = "a"; let w: string | undefined = "a";', "v.length");
    expect(await refused("const later = () => v.length")).toBe("TS18048");
    await cells("const clear = () => { w = undefined }", 'w = "b"; w.length');
    expect(await refused("w.length")).toBe("TS18048");
  });

  test("has its possible types after a cell that failed", async () => {
    await cells('let x: string | undefined = "a"', "x.length");
    await cells("%check off\nx = undefined");
    expect(await refused("x.length")).toBe("TS18048");
    await cells('x = "b"', "x.length");
    expect(await refused('x = undefined; JSON.parse("{"); x = "a"')).toBe("SyntaxError");
    expect(await refused("x.length")).toBe("TS18048");
  });

  test("is completed and inspected with its narrowed type", async () => {
    await cells(`let y: string[] | number = ["a"]`);
    const { client } = shared.current;
    const completed = await client.request("shell", "complete_request", { code: "y.fl", cursor_pos: 4 });
    expect(completed.content.matches).toEqual(["flat", "flatMap"]);
  });
});

test("a long chain of cells that narrow the same variable is dropped", () => {
  let narrowings: Narrowings = new Map();
  const depths = new Set<number>();
  for (let cell = 0; cell < 100; cell++) {
    const module = { cell, key: `c${cell}`, source: "", declarations: [], needs: new Set<never>() };
    const effects = new Map([["z", "narrowed"]] as const);
    const flow = flowOf("z = next()");
    narrowings = narrowingsAfter(narrowings, { module, flow, effects, baseNarrowings: narrowings }, new Set());
    depths.add(narrowings.get("z")?.depth ?? 0);
  }
  expect(Math.max(...depths)).toBe(20);
  expect(depths).toContain(0);
});

test("flowOf finds references that are tested, assigned, and assigned in functions", () => {
  const { tested, assigned, reassigned } = flowOf(`
    if (a.b && !c) { d = 1; ({ e, f: g.h, ...i } = d); [j = k] = d; } l++; for (m of n) o(p.q);
    const r: string | undefined = "a"; let s = 1; console.log(t); u.v(w);
    class X { y = () => { this.y = 1; z.y = 2; } }; function f() { e = 1; const q = s; s += q }`);
  expect([...tested].sort()).toEqual(["a", "a.b", "c", "p", "p.q", "u", "w"]);
  expect([...assigned].sort()).toEqual(["d", "e", "g.h", "i", "j", "l", "m", "r"]);
  expect([...reassigned].sort()).toEqual(["e", "s", "z.y"]);
});
