import { Script } from "node:vm";
import { beforeEach, describe, expect, test } from "vitest";
import * as interrupts from "../child/interrupt.ts";
import { constant, initializedSince, peek, prepareDeclarations, scope } from "../child/scope.ts";
import { slots } from "../child/slots.ts";
import type { DeclarationKind } from "../host/protocol.ts";
import { CellSyntaxError } from "./syntax.ts";
import { transformCell } from "./transform.ts";

const { shared } = interrupts;

// The transformed code runs with the child's scope object. Only imports need a kernel.
const declarations = new Map<string, DeclarationKind>();

async function run(source: string): Promise<unknown> {
  const { code, declared } = transformCell(source, declarations);
  prepareDeclarations(declared);
  for (const { name, kind } of declared) declarations.set(name, kind);
  return new Script(code).runInThisContext() as unknown;
}

beforeEach(() => {
  declarations.clear();
  for (const name of Object.keys(scope)) delete scope[name];
  shared.fill(0);
  Object.defineProperty(globalThis, Symbol.for("anneal.cell"), {
    value: {
      ...interrupts,
      scope,
      peek,
      constant,
      flag: interrupts.shared,
      cell: () => 0,
      result: (value: unknown) => value,
    },
    configurable: true,
  });
});

describe("the result of a cell", () => {
  test.each([
    ["1 + 1", 2],
    ["const a = 1; a + 1", 2],
    ["{ a: 1 }", { a: 1 }],
    ["{ a: 1, b: [2] }", { a: 1, b: [2] }],
    ["Promise.resolve(3)", 3],
    ["await Promise.resolve(3)", 3],
    ['"use strict"', "use strict"],
    ["(5 as number)!", 5],
    ["5;;", 5],
    ["// nothing", undefined],
    ["const a = 1", undefined],
    ["if (true) { 1 }", undefined],
    ["export default 6", 6],
    ["const f = async () => await 7; await f()", 7],
  ])("of %s", async (source, expected) => {
    expect(await run(source)).toEqual(expected);
  });
});

describe("names", () => {
  test("of a cell are visible in the next one", async () => {
    await run(`const a = 1, { b, c: [d], ...rest } = { b: 2, c: [3], e: 4 };
      let u: number | undefined; var v = 5; function f() { return 6 } class K { static n = 7 }
      enum E { X = 8 } namespace N { export const n = 9 } for (var w = 0; w < 10; w++); if (a) { var x = 11 }`);
    expect(await run("[a, b, d, rest, u, v, f(), K.n, E.X, N.n, w, x]")).toEqual([
      1,
      2,
      3,
      { e: 4 },
      undefined,
      5,
      6,
      7,
      8,
      9,
      10,
      11,
    ]);
  });

  test("can be redeclared as any kind", async () => {
    const declarations = [
      "const n = 1",
      "let n = 1",
      "var n = 1",
      "function n() { return 1 }",
      "class n {}",
      "enum n { A }",
      "const { n } = { n: 1 }",
      "const [n] = [1]",
    ];
    for (const first of declarations) {
      for (const second of declarations) {
        await run(first);
        await run(second);
        const type = /^(function|class)/.test(second) ? "function" : second.startsWith("enum") ? "object" : "number";
        expect(await run("typeof n"), `${second} after ${first}`).toBe(type);
      }
    }
  });

  test("a function of an earlier cell sees the latest value", async () => {
    await run("let rate = 1; function show() { return [rate, helper()] } function helper() { return 'old' }");
    await run("const rate = 2");
    await run("function helper() { return 'new' }");
    expect(await run("show()")).toEqual([2, "new"]);
  });

  test("a function may use a name that a later cell declares", async () => {
    await run("const early = () => later");
    await run("const later = 3");
    expect(await run("early()")).toBe(3);
  });

  test("local names shadow names of cells", async () => {
    await run("const x = 'cell', i = 'cell', e = 'cell'");
    expect(
      await run(`const seen: unknown[] = [];
        ((x: string) => seen.push(x))("parameter");
        { const x = "block"; seen.push(x) }
        for (let i = 0; i < 1; i++) seen.push(i);
        try { throw "caught" } catch (e) { seen.push(e) }
        (function x() { seen.push(typeof x) })();
        switch (1) { case 1: const x = "switch"; seen.push(x) }
        const o = { x, y: x }, { x: renamed, z = x } = { x: 1 } as { x: number; z?: string };
        class Own { x = x }
        seen.push(o, renamed, z, new Own().x, x, i, e); seen`),
    ).toEqual([
      "parameter",
      "block",
      0,
      "caught",
      "function",
      "switch",
      { x: "cell", y: "cell" },
      1,
      "cell",
      "cell",
      "cell",
      "cell",
      "cell",
    ]);
  });

  test("a function call has no `this`", async () => {
    await run("function self(this: unknown) { return this }");
    expect(await run("self()")).toBeUndefined();
  });

  test("an anonymous function is named after its variable", async () => {
    expect(await run("const named = () => {}; const Named = class {}; [named.name, Named.name]")).toEqual([
      "named",
      "Named",
    ]);
  });

  test("an undeclared name throws a ReferenceError, and typeof returns undefined", async () => {
    await expect(run("missing")).rejects.toThrow(new ReferenceError("missing is not defined"));
    expect(await run("typeof missing")).toBe("undefined");
  });

  test("assigning to a constant of an earlier cell throws", async () => {
    await run("const fixed = 1");
    await expect(run("fixed = 2")).rejects.toThrow(TypeError);
    await expect(run("fixed++")).rejects.toThrow(TypeError);
    expect(await run("fixed")).toBe(1);
  });

  test("a cell can shadow a global without changing it", async () => {
    await run("const performance = { accuracy: 1 }");
    expect(await run("performance.accuracy")).toBe(1);
    expect(globalThis.performance.now()).toBeGreaterThan(0);
  });

  test("that were initialized before an error stay declared", async () => {
    const { code, declared } = transformCell("const one = 1; throw new Error('stop'); const two = 2", declarations);
    const before = prepareDeclarations(declared);
    await expect(new Script(code).runInThisContext()).rejects.toThrow("stop");
    expect(initializedSince(before)).toEqual(["one"]);
  });
});

describe("loops", () => {
  test.each([
    "while (true) {}",
    "for (;;);",
    "do {} while (true)",
    "for (const x of (function* () { while (true) yield 1 })()) x",
    "const spin = () => { for (;;) { } }; spin()",
    "for (var i = 0; ; i++) var last = i",
    "for (const k in { a: 1 }) for (;;) if (k) continue; else break",
  ])("stop when the flag is set: %s", async (source) => {
    shared[slots.running] = 1;
    shared[slots.flag] = 1;
    await expect(run(source)).rejects.toThrow("interrupted");
  });

  test("compute correct results", async () => {
    expect(
      await run(`const out: number[] = []; outer: for (let i = 0; i < 3; i++) for (const j of [0, 1]) {
        if (j > i) continue outer; out.push(i * 10 + j) } while (out.length < 7) out.push(-1); out`),
    ).toEqual([0, 10, 11, 20, 21, -1, -1]);
  });
});

describe("syntax errors", () => {
  test("have a position", () => {
    const source = "const a = 1;\nconst const = 2;";
    const error = failure(source);
    expect(source.slice(error.offset, error.offset + error.length)).toBe("const");
    expect(error.offset).toBe(19);
  });

  test("include a name that is declared twice in a cell", () => {
    expect(failure("const a = 1; const a = 2;").message).toMatch(/already been declared/);
  });

  function failure(source: string): CellSyntaxError {
    try {
      transformCell(source, declarations);
    } catch (error) {
      if (error instanceof CellSyntaxError) return error;
      throw error;
    }
    throw new Error(`${source} was transformed`);
  }
});
