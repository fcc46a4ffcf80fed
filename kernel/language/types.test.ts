import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { folderWith, sharedKernel } from "../cells.test.helper.ts";
import { packageRoot } from "../host/launch.ts";
import { Checker } from "./check.ts";
import { CompilerSession } from "./session.ts";

const shared = sharedKernel({
  "shapes.ts": "export interface Shape { sides: number }\nexport class Box { side = 1 }\n",
});

describe("type errors", () => {
  test("prevent the cell from running, and show position, message, code and how to run it anyway", async () => {
    const kernel = shared.current;
    const count = Number((await kernel.ok("1")).reply.content.execution_count) + 1;
    const wrong = await kernel.run('console.log("ran");\nconst n: number = "text";');
    expect(wrong).toMatchObject({ status: "error", ename: "TS2322", stdout: "" });
    expect(wrong.evalue).toBe("Type 'string' is not assignable to type 'number'. (line 2)");
    expect(wrong.traceback).toBe(
      [
        "TS2322: Type 'string' is not assignable to type 'number'.",
        `    at In[${count}]:2:7`,
        '  1 | console.log("ran");',
        '> 2 | const n: number = "text";',
        "    |       ^",
        "The cell was not run. To run it anyway, add `%check off` as its first line.",
      ].join("\n"),
    );
  });

  test("in a cell that is an object literal have correct positions", async () => {
    const wrong = await shared.current.run("{ a: 1 + nowhere }");
    expect(wrong.traceback).toContain(":1:10\n");
    expect(wrong.traceback).toContain("^~~~~~~\n");
  });

  test("do not include implicit any and missing declarations", async () => {
    await shared.current.ok("let later; const list = [];");
    await shared.current.ok("later = 5; list.push(1);");
  });

  test("include the use of browser globals", async () => {
    expect((await shared.current.run("document.title")).ename).toBe("TS2584");
    expect((await shared.current.ok("typeof Buffer")).result).toBe("'function'");
  });

  test("can be disabled for one cell or for all", async () => {
    const kernel = shared.current;
    await kernel.ok('%check off\nconst s: number = "text"');
    expect((await kernel.run('const t: number = "text"')).ename).toBe("TS2322");
    await kernel.ok("%check off");
    await kernel.ok('const t: number = "text"');
    await kernel.ok("%check on");
    expect((await kernel.run('const t: number = "text"')).ename).toBe("TS2322");
  });
});

describe("types of earlier cells", () => {
  test("are visible: of values, functions, classes, interfaces, enums, imports, generics", async () => {
    const kernel = shared.current;
    await kernel.ok(`
      import { Box, type Shape } from "./shapes.ts";
      interface Point { x: number; y?: string }
      type Pair<T> = [T, T];
      enum Colour { Red, Green }
      class Stack<T> { #items: T[] = []; push(item: T) { this.#items.push(item); return this } }
      function first<T>(pair: Pair<T>): T { return pair[0] }
      const point = { x: 1 } as const;
      let mutable: string | undefined;`);
    await kernel.ok(`
      const p: Point = point; const c: Colour = Colour.Red; const n: number = first([1, 2]);
      const s = new Stack<string>().push("a"); const b: Shape & Box = { sides: 1, side: 2 }; mutable = "now";`);
    for (const [code, ename] of [
      ["const q: Point = { x: 'one' }", "TS2322"],
      ["s.push(1)", "TS2345"],
      ["first([1, 'two'])", "TS2322"],
      ["point.x = 2", "TS2540"],
      ["mutable = 5", "TS2322"],
      ["p = point", "TS2588"],
      ["new Box().sides", "TS2551"],
    ] as const) {
      expect((await kernel.run(code)).ename, code).toBe(ename);
    }
  });

  test("are replaced when a name is redeclared; declarations that used the old type keep it", async () => {
    const kernel = shared.current;
    await kernel.ok("const value = 'text'; const size = () => value.length");
    await kernel.ok("const value = 5; class Again { old = 1 }");
    await kernel.ok("class Again { fresh = value.toFixed(1) }");
    await kernel.ok("const length: number = size(); const f: string = new Again().fresh");
    expect((await kernel.run("new Again().old")).ename).toBe("TS2339");
    await kernel.ok("function value(): Again { return new Again() }");
    expect((await kernel.run("value.toFixed(1)")).ename).toBe("TS2339");
  });

  test("of a cell that failed are visible for initialized variables", async () => {
    const kernel = shared.current;
    await kernel.ok("const after = 'before'");
    expect(
      (await kernel.run("interface Kept { a: 1 } const reached = 1; throw new Error('x'); const after = 2")).ename,
    ).toBe("Error");
    await kernel.ok("const k: Kept = { a: 1 }; reached.toFixed(); after.toUpperCase()");
  });

  test("of a changed file are updated", async () => {
    const kernel = shared.current;
    writeFileSync(join(kernel.folder, "later.ts"), "export const v = 1");
    await kernel.ok('import { v } from "./later.ts"; v.toFixed()');
    writeFileSync(join(kernel.folder, "later.ts"), "export const v = 'now a text'");
    await kernel.ok('import { v } from "./later.ts"; v.toUpperCase()');
  });

  test("of a newly installed package are found", async () => {
    const kernel = shared.current;
    expect((await kernel.run('import { made } from "just-made"')).ename).toBe("TS2307");
    const installed = folderWith({});
    const { cpSync, mkdirSync, rmSync } = await import("node:fs");
    mkdirSync(join(installed, "just-made"));
    writeFileSync(
      join(installed, "just-made/package.json"),
      '{"name":"just-made","type":"module","exports":"./i.js","types":"./i.d.ts"}',
    );
    writeFileSync(join(installed, "just-made/i.js"), "export const made = 1");
    writeFileSync(join(installed, "just-made/i.d.ts"), "export const made: number");
    cpSync(installed, join(kernel.folder, "node_modules"), { recursive: true });
    rmSync(installed, { recursive: true });
    expect((await kernel.ok('%check off\nimport { made } from "just-made"; made')).result).toBe("1");
    expect((await kernel.ok('import { made } from "just-made"; made.toFixed()')).result).toBe("'1'");
  });
});

describe("completion", () => {
  async function complete(code: string, at = code.length) {
    const reply = await shared.current.client.request("shell", "complete_request", { code, cursor_pos: at });
    const { matches, cursor_start, cursor_end } = reply.content;
    return { matches: matches as string[], start: cursor_start, end: cursor_end, metadata: reply.content };
  }

  test("of members inside code, with kinds", async () => {
    const { matches, start, end, metadata } = await complete("process.vers + 1", 12);
    expect(matches).toEqual(["version", "versions"]);
    expect([start, end]).toEqual([8, 12]);
    expect(metadata.metadata).toMatchObject({
      _jupyter_types_experimental: [{ start: 8, end: 12, text: "version", type: "property" }, {}],
    });
  });

  test("of methods to implement, with their parameters", async () => {
    await shared.current.ok(`interface Shape {
      area(scale: number, unit?: string): number;
      visit: (value: Map<string, () => void>, index: number) => void;
      more<T>(x: T, ...rest: T[]): Promise<T>;
      name: string;
    }`);
    const object = await complete("const one: Shape = { ");
    expect(object.matches).toEqual([
      "area",
      "more",
      "name",
      "visit",
      "area(scale, unit) {}",
      "more(x, ...rest) {}",
      "visit: (value, index) => ",
    ]);
    const inClass = await complete("class Round implements Shape { ar");
    expect(inClass.matches).toEqual(["area", "area(scale: number, unit?: string): number {}"]);
    expect((await complete("[1].ma")).matches).toEqual(["map"]);
  });

  test("of globals and of values and types of earlier cells", async () => {
    await shared.current.ok("const myVariable = [1]; interface MyInterface { a: 1 }");
    expect((await complete("myVar")).matches).toEqual(["myVariable"]);
    expect((await complete("myVariable.fl")).matches).toEqual(["flat", "flatMap"]);
    expect((await complete("let x: MyInt")).matches).toEqual(["MyInterface"]);
    expect((await complete("Mat")).matches).toEqual(["Math"]);
    expect((await complete("disp")).matches).toEqual(["display"]);
  });

  test("counts positions in code points", async () => {
    const { matches, start, end } = await complete('"🎉🎉"; process.versi', 20);
    expect(matches).toEqual(["version", "versions"]);
    expect([start, end]).toEqual([14, 19]);
  });

  test("of packages, files and string literal types", async () => {
    expect((await complete('import { x } from "node:f')).matches).toEqual(["node:fs", "node:fs/promises"]);
    expect((await complete('import { x } from "./shap')).matches).toEqual(["shapes.ts"]);
    expect((await complete('const s: "left" | "right" = "l')).matches).toEqual(["left"]);
  });

  test("of import names, and without a prefix", async () => {
    expect((await complete('import { readFileS } from "node:fs"', 18)).matches).toEqual(["readFileSync"]);
    expect((await complete("noSuchNameAnywhere")).matches).toEqual([]);
  });
});

describe("inspection", () => {
  async function inspect(code: string, at = code.length) {
    const { content } = await shared.current.client.request("shell", "inspect_request", { code, cursor_pos: at });
    return { found: content.found, data: content.data as Record<string, string> };
  }

  test("returns type and documentation of a name of an earlier cell", async () => {
    await shared.current.ok("/** Doubles a number. */\nfunction twice(n: number): number { return n * 2 }");
    const { found, data } = await inspect("twice(2)", 3);
    expect(found).toBe(true);
    expect(data["text/plain"]).toContain("function twice(n: number): number");
    expect(data["text/markdown"]).toContain("```typescript\nfunction twice");
    expect(data["text/markdown"]).toContain("Doubles a number.");
  });

  test("returns the signature inside the parentheses of a call", async () => {
    expect((await inspect("twice( )", 6)).data["text/plain"]).toContain("twice(n: number): number");
  });

  test("returns nothing if there is no name", async () => {
    expect(await inspect("   ", 1)).toEqual({ found: false, data: {} });
  });
});

test("without a compiler, cells are not checked and a warning is returned once", async () => {
  // No process can start in a folder that does not exist.
  const session = new CompilerSession("/nonexistent/folder", packageRoot());
  const checker = new Checker(session);
  const first = await checker.check("const a: number = 'x'");
  expect(first.diagnostics).toEqual([]);
  expect(first.warning).toMatch(/^Types are not checked: .*Cells run without type checks\.$/);
  session.close();
});
