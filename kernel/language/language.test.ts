import { utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { sharedKernel, TestKernel } from "../cells.test.helper.ts";

const shared = sharedKernel({
  "note.txt": "a text",
  "data.json": '{ "rows": [1, 2] }',
  "top.ts": 'import { deep } from "./deep.ts";\nexport const top = () => deep;\n',
  "deep.ts": "export const deep: number = 1;\n",
  "mixed.ts":
    'import data from "./data.json";\nimport text from "./note.txt" with { type: "text" };\nimport * as anneal from "anneal";\n' +
    "export const mixed = [data.rows.length, text, typeof anneal];\n",
  "dressed.ts":
    "function twice(value: () => number, _: unknown) { return () => value() * 2 }\n" +
    "export class Dressed { @((v: any, c: any) => twice(v, c)) four() { return 2 } }\n" +
    "export function fail() { throw new Error('from a lowered file') }\n",
});

const result = async (code: string) => (await shared.current.ok(code)).result;

describe("TypeScript features that Node.js lacks", () => {
  test("decorators and accessor of TypeScript 5", async () => {
    await shared.current.ok(`
      const calls: string[] = [];
      function logged<T, A extends unknown[], R>(method: (this: T, ...args: A) => R, context: ClassMethodDecoratorContext) {
        return function (this: T, ...args: A): R { calls.push(String(context.name)); return method.apply(this, args) };
      }
      function registered(_: unknown, context: ClassDecoratorContext) { calls.push("class " + context.name) }
      @registered
      class Counter {
        accessor count = 1;
        @logged up(by: number) { return (this.count += by) }
      }`);
    expect(await result("new Counter().up(2)")).toBe("3");
    expect(await result("calls")).toBe("[ 'class Counter', 'up' ]");
    expect((await shared.current.run("new Counter().up('x')")).ename).toBe("TS2345");
  });

  test("errors in such a cell have correct positions", async () => {
    const failed = await shared.current.run(
      "class Broken {\n  accessor x = 1;\n  fail(): never {\n    throw new Error('here')\n  }\n}\nnew Broken().fail()",
    );
    expect(failed.traceback).toContain(":4:11)");
    expect(failed.traceback).toContain(":7:14");
  });

  test("top-level using disposes in reverse order when the cell ends; in a block, when the block ends", async () => {
    await shared.current.ok(`
      const log: string[] = [];
      const open = (name: string) => ({ name, [Symbol.dispose]() { log.push("close " + name) } });
      const openLater = (name: string) => ({ name, async [Symbol.asyncDispose]() { log.push("closed " + name) } });`);
    expect(
      await result("using a = open('a'); await using b = openLater('b'); log.push('body'); [a.name, b.name]"),
    ).toBe("[ 'a', 'b' ]");
    expect(await result("log")).toBe("[ 'body', 'closed b', 'close a' ]");
    await shared.current.ok("log.length = 0; { using c = open('c'); log.push('in ' + c.name) } log.push('after')");
    expect(await result("log")).toBe("[ 'in c', 'close c', 'after' ]");
    await shared.current.run("log.length = 0; using d = open('d'); throw new Error('x')");
    expect(await result("log")).toBe("[ 'close d' ]");
    expect((await shared.current.run("using e = 5")).ename).toBe("TS2850");
  });

  test("enums, namespaces, parameter properties, overloads, abstract classes, satisfies, const type parameters", async () => {
    expect(
      await result(`
        enum Level { Low = 1, High = Low << 2 }
        namespace Units { export const metre = "m"; export namespace Small { export const mm = "mm" } }
        namespace Units { export const second = "s" }
        abstract class Shape { constructor(protected readonly sides: number) {} abstract area(): number }
        class Square extends Shape { constructor(private side: number) { super(4) } override area() { return this.side ** 2 } }
        function pick(x: string): string; function pick(x: number): number; function pick(x: unknown) { return x }
        const config = { a: 1 } satisfies Record<string, number>;
        function tuple<const T extends readonly unknown[]>(...items: T): T { return items }
        [Level[4], Units.Small.mm, Units.second, new Square(3).area(), pick("p"), config.a, tuple(1, "b")[1]].join()`),
    ).toBe("'High,mm,s,9,p,1,b'");
  });

  test("import = require, and for await at the top level", async () => {
    expect(
      await result(`
        import fs = require("node:fs");
        async function* numbers() { yield 1; yield 2 }
        let sum = 0;
        for await (const n of numbers()) sum += n;
        [typeof fs.readFileSync, sum]`),
    ).toBe("[ 'function', 3 ]");
  });
});

describe("files", () => {
  test("import as JSON or text, with an import attribute or by extension", async () => {
    expect(
      await result(`
        import text from "./note.txt" with { type: "text" };
        import data from "./data.json" with { type: "json" };
        [text.toUpperCase(), data.rows.length]`),
    ).toBe("[ 'A TEXT', 2 ]");
  });

  test("in TypeScript can import JSON, text and anneal", async () => {
    expect(await result('import { mixed } from "./mixed.ts"; mixed')).toBe("[ 2, 'a text', 'object' ]");
  });

  test("in TypeScript can contain decorators, and errors have correct positions", async () => {
    expect(await result('import { Dressed, fail } from "./dressed.ts"; new Dressed().four()')).toBe("4");
    expect((await shared.current.run("fail()")).traceback).toContain(`${shared.current.folder}/dressed.ts:3:32`);
  });

  test("are loaded again when a file that they import has changed", async () => {
    const { folder } = shared.current;
    expect(await result('import { top } from "./top.ts"; top()')).toBe("1");
    writeFileSync(join(folder, "deep.ts"), "export const deep: number = 22;\n");
    utimesSync(join(folder, "deep.ts"), new Date(), new Date(Date.now() + 5000));
    expect(await result('import { top } from "./top.ts"; top()')).toBe("22");
  });
});

describe("a tsconfig.json in the notebook's folder", () => {
  test("is ignored if it is invalid, with a warning in the first cell", async () => {
    const kernel = await TestKernel.start({ "tsconfig.json": '{ "compilerOptions": { "strict": "perhaps" } }' });
    try {
      const first = await kernel.ok("1 + 1");
      expect(first.result).toBe("2");
      expect(first.stderr).toMatch(/^tsconfig\.json in .* is ignored:\n.*strict.*boolean/);
      expect((await kernel.ok("2 + 2")).stderr).toBe("");
    } finally {
      await kernel.close();
    }
  });

  test("is applied: strictness, paths, lib, decorators", async () => {
    const kernel = await TestKernel.start({
      "tsconfig.base.json": '{ "compilerOptions": { "strict": false } }',
      "tsconfig.json": `{
        // with comments, and with options that do not apply to cells
        "extends": "./tsconfig.base.json",
        "compilerOptions": {
          "lib": ["es2024", "dom"], "paths": { "@/*": ["./src/*"] },
          "experimentalDecorators": true, "noUnusedLocals": true, "composite": true, "module": "nodenext",
        },
      }`,
      "src/util.ts": 'import { one } from "@/one";\nexport const two: number = one + 1;\n',
      "src/one.ts": "export const one = 1;\n",
    });
    try {
      await kernel.ok("function loose(x) { return x }; const nothing: string = null");
      expect((await kernel.ok('import { two } from "@/util"; two.toFixed(1)')).result).toBe("'2.0'");
      await kernel.ok("let page: HTMLElement | undefined");
      await kernel.ok(`
        const seen: string[] = [];
        function old(target: object, name: string) { seen.push(name) }
        class Old { @old field = 1 }`);
      expect((await kernel.ok("seen")).result).toBe("[ 'field' ]");
      await kernel.ok('import { notebook } from "anneal"; typeof notebook');
    } finally {
      await kernel.close();
    }
  });
});
