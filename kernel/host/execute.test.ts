import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { alive, folderWith, sharedKernel, TestKernel, until } from "../cells.test.helper.ts";

const shared = sharedKernel({
  "util.ts": `import { deeper } from "./deeper.ts";
export interface Shape { sides: number }
export const util: Shape = { sides: deeper() };
export function fail(): never {

  throw new Error("from the file");
}
export function spin(): void { while (true) {} }
`,
  "deeper.ts": "export function deeper(): number { return 4 }\n",
  "data.json": '{ "rows": 3 }',
  "node_modules/esm-pkg/package.json":
    '{ "name": "esm-pkg", "version": "1.0.0", "type": "module", "exports": { ".": { "types": "./index.d.ts", "default": "./index.js" } } }',
  "node_modules/esm-pkg/index.js":
    "export default function hello(name) { return 'hello ' + name }\nexport let count = 0;\nexport const up = () => { count++ };\nexport function boom() { throw new Error('in the package') }",
  "node_modules/esm-pkg/index.d.ts":
    "export default function hello(name: string): string;\nexport let count: number;\nexport function up(): void;\nexport function boom(): never;",
  "node_modules/cjs-pkg/package.json": '{ "name": "cjs-pkg", "version": "1.0.0", "main": "main.js" }',
  "node_modules/cjs-pkg/main.js": "module.exports = { answer: 42 };",
});

describe("executing", () => {
  test("publishes execute_input and the result, and replies with the execution count", async () => {
    const { messages, reply } = await shared.current.ok("20 + 1");
    const types = messages.map(({ header, content }) =>
      [header.msg_type, content.execution_state ?? ""].join(" ").trim(),
    );
    expect(types).toEqual(["status busy", "execute_input", "execute_result", "status idle"]);
    expect(messages[1]?.content).toEqual({ code: "20 + 1", execution_count: reply.content.execution_count });
    expect(messages[2]?.content.execution_count).toBe(reply.content.execution_count);
    expect(new Set(messages.map((message) => message.parent_header.msg_id))).toEqual(
      new Set([reply.parent_header.msg_id]),
    );
  });

  test("counts cells, except silent ones and those without store_history", async () => {
    const kernel = shared.current;
    const count = Number((await kernel.ok("1")).reply.content.execution_count);
    const silent = await kernel.ok("1", { silent: true });
    expect(silent.messages.map(({ header }) => header.msg_type)).toEqual(["status", "status"]);
    await kernel.ok("1", { storeHistory: false });
    expect((await kernel.ok("1")).reply.content.execution_count).toBe(count + 1);
  });

  test("user expressions are in the reply, with a value or an error", async () => {
    const { reply } = await shared.current.ok("const width = 3", {
      userExpressions: { twice: "width * 2", wrong: "nowhere.x", broken: "1 +" },
    });
    expect(reply.content.user_expressions).toMatchObject({
      twice: { status: "ok", data: { "text/plain": expect.stringContaining("6") } },
      wrong: { status: "error", ename: "ReferenceError" },
      broken: { status: "error", ename: "SyntaxError" },
    });
  });

  test("an error aborts the queued cells but not those sent later", async () => {
    const kernel = shared.current;
    const cells = ["throw new Error('stop here')", "1", "2"].map((code) => kernel.run(code));
    expect((await Promise.all(cells)).map(({ status }) => status)).toEqual(["error", "aborted", "aborted"]);
    expect((await kernel.ok("3")).result).toBe("3");
    const going = [kernel.run("throw 1", { stopOnError: false }), kernel.run("4")];
    expect((await Promise.all(going)).map(({ status }) => status)).toEqual(["error", "ok"]);
  });

  test("cells are queued and run in order", async () => {
    const kernel = shared.current;
    await kernel.ok("const order: number[] = []");
    const cells = [30, 1, 10].map((ms, n) =>
      kernel.ok(`await new Promise((done) => setTimeout(done, ${ms})); order.push(${n})`),
    );
    await Promise.all(cells);
    expect((await kernel.ok("order")).result).toBe("[ 0, 1, 2 ]");
  });
});

describe("values", () => {
  test("undefined shows nothing; records show text and a table", async () => {
    const kernel = shared.current;
    expect((await kernel.ok("undefined")).result).toBeUndefined();
    const { messages } = await kernel.ok('[{ name: "<a>", n: 1 }, { name: "b", more: [2] }]');
    const data = messages.find(({ header }) => header.msg_type === "execute_result")?.content.data;
    expect((data as Record<string, string>)["text/html"]).toContain(
      '<td>&#60;a&#62;</td><td align="right">1</td><td></td>',
    );
  });

  test("a value can have its own display method, also async and with binary data", async () => {
    const { messages } = await shared.current.ok(`({
      async [Symbol.for("Jupyter.display")]() {
        return { "text/markdown": "**bold**", "image/png": new Uint8Array([1, 2, 3]) };
      },
    })`);
    const data = messages.find(({ header }) => header.msg_type === "execute_result")?.content.data;
    expect(data).toEqual({ "text/markdown": "**bold**", "image/png": "AQID" });
  });

  test("display shows values in order and updates outputs with an id", async () => {
    const { messages } = await shared.current.ok(`
      display(1);
      display({ "text/html": "<b>one</b>" }, { raw: true, displayId: "it" });
      display({ "text/html": "<b>two</b>" }, { raw: true, displayId: "it", update: true });`);
    const displays = messages.filter(({ header }) => header.msg_type.endsWith("display_data"));
    expect(displays.map(({ header }) => header.msg_type)).toEqual([
      "display_data",
      "display_data",
      "update_display_data",
    ]);
    expect(displays[2]?.content).toMatchObject({
      data: { "text/html": "<b>two</b>" },
      transient: { display_id: "it" },
    });
  });

  test("libraries can access the notebook's path, cells and output", async () => {
    const kernel = shared.current;
    await kernel.ok(
      `type Notebook = import(${JSON.stringify(join(import.meta.dirname, "../../../src/display/notebook.ts"))}).Notebook;
       const notebook = (globalThis as unknown as Record<symbol, Notebook>)[Symbol.for("anneal.notebook")]!;
       notebook.path`,
      { cellId: "cell-7" },
    );
    expect((await kernel.ok("notebook.path")).result).toBe(`'${join(kernel.folder, "notebook.ipynb")}'`);
    expect((await kernel.ok("notebook.cells.at(-3)!.id")).result).toBe("'cell-7'");
    expect((await kernel.ok("notebook.cells.at(-1)!.source")).result).toBe("'notebook.cells.at(-1)!.source'");
    const { messages } = await kernel.ok('notebook.clearOutput(true); notebook.display({ "text/plain": "x" })');
    expect(messages.map(({ header }) => header.msg_type)).toEqual([
      "status",
      "execute_input",
      "clear_output",
      "display_data",
      "status",
    ]);
  });
});

describe("streams", () => {
  test("prints arrive in order on stdout and stderr", async () => {
    const { stdout, stderr } = await shared.current.ok(
      'console.log("a", { b: 1 }); console.error("e"); process.stdout.write("no newline"); console.table([{ x: 1 }])',
    );
    expect(stdout).toMatch(/^a \{ b: 1 \}\nno newline┌.*┘\n$/s);
    expect(stderr).toBe("e\n");
  });

  test("ten thousand lines arrive complete in few messages", async () => {
    const { stdout, messages } = await shared.current.ok("for (let i = 0; i < 10_000; i++) console.log(i)");
    expect(stdout).toBe(Array.from({ length: 10_000 }, (_, i) => `${i}\n`).join(""));
    expect(messages.length).toBeLessThan(500);
  });

  test("native output appears before the cell ends", async () => {
    const { stdout, stderr } = await shared.current.ok(`
      import { writeSync } from "node:fs";
      import { execSync } from "node:child_process";
      writeSync(1, "by descriptor\\n");
      execSync("echo by a child process >&2", { stdio: "inherit" });
      undefined`);
    expect(stdout).toBe("by descriptor\n");
    expect(stderr).toBe("by a child process\n");
  });

  test("output of a timer belongs to its cell after the cell has ended", async () => {
    const kernel = shared.current;
    const late: unknown[] = [];
    const forget = kernel.client.onMessage((_channel, { header, parent_header, content }) => {
      if (header.msg_type === "stream") late.push([parent_header.msg_id, content.text]);
    });
    const { reply } = await kernel.ok('setTimeout(() => console.log("late"), 40); undefined');
    await kernel.ok("1");
    await until(() => late.length > 0);
    forget();
    expect(late).toEqual([[reply.parent_header.msg_id, "late\n"]]);
  });

  test("later cells can print after a cell has closed stdout", async () => {
    await shared.current.ok('process.stdout.end("bye\\n"); undefined');
    expect((await shared.current.ok('console.log("still here")')).stdout).toBe("still here\n");
  });
});

describe("errors", () => {
  test("show name, frames of the cell and an excerpt, but no kernel frames", async () => {
    const kernel = shared.current;
    const count = Number((await kernel.ok("1")).reply.content.execution_count) + 1;
    const failed = await kernel.run(
      'interface Shape { n: number }\n\nfunction f(s: Shape) {\n  throw new RangeError("too far: " + s.n)\n}\nf({ n: 3 })',
    );
    expect(failed.reply.content).toMatchObject({ status: "error", ename: "RangeError", evalue: "too far: 3" });
    expect(failed.traceback).toBe(
      [
        "RangeError: too far: 3",
        `    at f (In[${count}]:4:9)`,
        `    at In[${count}]:6:1`,
        "",
        "  3 | function f(s: Shape) {",
        '> 4 |   throw new RangeError("too far: " + s.n)',
        "    |         ^",
        "  5 | }",
      ].join("\n"),
    );
  });

  test("fold the frames of packages and map those of TypeScript files", async () => {
    const kernel = shared.current;
    const ofPackage = await kernel.run('import { boom } from "esm-pkg"; boom()');
    expect(ofPackage.traceback).toContain("… 1 in esm-pkg");
    const ofFile = await kernel.run('import { fail } from "./util.ts"; fail()');
    expect(ofFile.traceback).toContain(`at fail (${join(kernel.folder, "util.ts")}:6:9)`);
  });

  test("show their cause, and thrown values that are not errors", async () => {
    const caused = await shared.current.run('throw new Error("outer", { cause: new TypeError("inner") })');
    expect(caused.traceback).toMatch(/Error: outer.*caused by TypeError: inner/s);
    expect(await shared.current.run("throw { code: 5 }")).toMatchObject({ ename: "Uncaught", evalue: "{ code: 5 }" });
  });

  test("use the names of the cell, not those of the transformed code", async () => {
    const kernel = shared.current;
    await kernel.ok("const thing: { run?: () => void } = {}; const nothing = undefined as unknown as () => void");
    expect((await kernel.run("thing.run!()")).evalue).toBe("thing.run is not a function");
    expect((await kernel.run("nothing()")).evalue).toBe("nothing is not a function");
    expect((await kernel.ok("try { nothing() } catch (error) { console.log(error) }")).stdout).toMatch(
      /^TypeError: nothing is not a function\n {4}at In/,
    );
  });

  test("a stack that user code prints refers to cells", async () => {
    const { stdout } = await shared.current.ok('console.log(new Error("printed").stack)');
    expect(stdout).toMatch(/^Error: printed\n {4}at In\[\d+\]:1:13\n$/);
  });

  test("in timers and unhandled rejections belong to their cell and do not end the process", async () => {
    const kernel = shared.current;
    const rejected = await kernel.ok('Promise.reject(new Error("left alone")); undefined').catch(() => undefined);
    expect(rejected).toBeUndefined();
    const timer = await kernel.run(
      'setTimeout(() => { throw new Error("in a timer") }, 1); await new Promise((done) => setTimeout(done, 30))',
    );
    expect(timer).toMatchObject({ status: "ok", evalue: "in a timer" });
    expect((await kernel.ok("1 + 1")).result).toBe("2");
  });

  test("of a finished cell belong to that cell, not to the running one", async () => {
    const kernel = shared.current;
    const errors: unknown[] = [];
    const forget = kernel.client.onMessage((_channel, { header, parent_header }) => {
      if (header.msg_type === "error") errors.push(parent_header.msg_id);
    });
    const first = await kernel.ok('setTimeout(() => { void Promise.reject(new Error("late")) }, 30); undefined');
    await kernel.ok("await new Promise((done) => setTimeout(done, 60))");
    await until(() => errors.length > 0);
    forget();
    expect(errors).toEqual([first.reply.parent_header.msg_id]);
  });
});

describe("imports", () => {
  test("of packages, Node.js modules, and TypeScript and JSON files in the notebook's folder", async () => {
    const { result } = await shared.current.ok(`
      import hello, { count } from "esm-pkg";
      import cjs from "cjs-pkg";
      import * as path from "node:path";
      import { util, type Shape } from "./util.ts";
      import data from "./data.json";
      [hello("x"), count, (cjs as { answer: number }).answer, path.basename("/a/b"), util.sides, data.rows]`);
    expect(result).toBe("[ 'hello x', 0, 42, 'b', 4, 3 ]");
  });

  test("are live bindings, and can be redeclared as an import or as anything else", async () => {
    const kernel = shared.current;
    await kernel.ok('import { count, up } from "esm-pkg"');
    expect((await kernel.ok("up(); count")).result).toBe("1");
    await kernel.ok("const count = 'mine'");
    expect((await kernel.ok("count")).result).toBe("'mine'");
    await kernel.ok('import count from "esm-pkg"');
    expect((await kernel.ok("typeof count")).result).toBe("'function'");
  });

  test("dynamic imports, require, import.meta and __dirname are relative to the notebook's folder", async () => {
    const kernel = shared.current;
    const { result } = await kernel.ok(`[
      (await import("./util.ts")).util.sides,
      require("cjs-pkg").answer,
      import.meta.dirname === __dirname,
      __dirname,
      import.meta.url.endsWith("/notebook.ipynb"),
    ]`);
    expect(result?.replace(/\s+/g, " ")).toBe(`[ 4, 42, true, '${kernel.folder}', true ]`);
  });

  test("the package anneal resolves with its types without being installed in the folder", async () => {
    const kernel = shared.current;
    await kernel.ok('import * as anneal from "anneal"; const { version } = require("node:process")');
    expect((await kernel.ok("typeof anneal")).result).toBe("'object'");
    expect((await kernel.run("anneal.thereIsNoSuchThing")).ename).toBe("TS2339");
  });

  test("its other entries resolve as well, and each name is in its own entry only", async () => {
    const kernel = shared.current;
    await kernel.ok(`
      import { DataLoader, tensor } from "anneal";
      import { Linear, type Module } from "anneal/nn";
      import { matmul, tensor as sameTensor } from "anneal/tensor";
      import { IntSlider } from "anneal/widgets";
      const layer: Module = new Linear(2, 3).initialize(1);
      const product = matmul(tensor([[1, 2]]), sameTensor([[3], [4]]));`);
    expect((await kernel.ok("[await product.data(), layer instanceof Linear, tensor === sameTensor]")).result).toBe(
      "[ Float32Array(1) [ 11 ], true, true ]",
    );
    expect((await kernel.ok("[new DataLoader([1, 2]).length, new IntSlider({ value: 3 }).value]")).result).toBe(
      "[ 2, 3 ]",
    );
    const wrong = await kernel.run('import { Conv2d } from "anneal"');
    expect([wrong.ename, wrong.evalue]).toEqual([
      "TS2305",
      `Module '"anneal"' has no exported member 'Conv2d'. (line 1)`,
    ]);
    const complete = async (code: string) =>
      (await kernel.client.request("shell", "complete_request", { code, cursor_pos: code.length })).content.matches;
    expect(await complete('import * as nn from "anneal/nn"; nn.Emb')).toEqual(["Embedding"]);
    expect(await complete('import { Linear } from "anneal/')).toEqual(["nn", "tensor", "widgets"]);
  });

  test("a package anneal that is installed in the folder has precedence", async () => {
    const entry = (name: string) => ({ types: `./${name}.d.ts`, default: `./${name}.js` });
    const manifest = {
      name: "anneal",
      version: "9.0.0",
      type: "module",
      exports: { ".": entry("index"), "./nn": entry("nn"), "./package.json": "./package.json" },
    };
    const kernel = await TestKernel.start({
      "node_modules/anneal/package.json": JSON.stringify(manifest),
      "node_modules/anneal/index.js": "export const own = 1;\n",
      "node_modules/anneal/index.d.ts": "export declare const own: number;\n",
      "node_modules/anneal/nn.js": "export const layer = 'own layer';\n",
      "node_modules/anneal/nn.d.ts": "export declare const layer: string;\n",
    });
    try {
      await kernel.ok('import { own } from "anneal"; import { layer } from "anneal/nn"');
      expect((await kernel.ok("[own.toFixed(1), layer.length]")).result).toBe("[ '1.0', 9 ]");
      expect((await kernel.run('import { Linear } from "anneal/nn"')).ename).toBe("TS2305");
    } finally {
      await kernel.close();
    }
  });

  test("the error for a missing package says how to install it", async () => {
    const missing = await shared.current.run('%check off\nimport x from "not-there/sub"');
    expect(missing.evalue).toContain("the package not-there is not installed");
    expect(missing.evalue).toContain("npm install not-there");
  });

  test("a changed file is loaded again", async () => {
    const folder = folderWith({ "v.ts": "export const v: number = 1" });
    const { writeFileSync, utimesSync } = await import("node:fs");
    const file = JSON.stringify(join(folder, "v.ts"));
    expect((await shared.current.ok(`(await import(${file})).v`)).result).toBe("1");
    writeFileSync(join(folder, "v.ts"), "export const v: string = 'two'");
    utimesSync(join(folder, "v.ts"), new Date(), new Date(Date.now() + 5000));
    expect((await shared.current.ok(`%check off\n(await import(${file})).v`)).result).toBe("'two'");
  });
});

describe("when the child process exits", () => {
  test.each([
    ["process.exit(3)", "exit code 3"],
    ['process.kill(process.pid, "SIGSEGV"); await new Promise((done) => setTimeout(done, 5000))', "signal SIGSEGV"],
  ])("after %s, the cell fails with StateLost and the kernel works again", async (code, how) => {
    const kernel = await TestKernel.start();
    try {
      await kernel.ok("const kept = 1");
      const ended = await kernel.run(code);
      expect(ended).toMatchObject({ status: "error", ename: "StateLost" });
      expect(ended.evalue).toContain(how);
      expect((await kernel.ok("1 + 1")).result).toBe("2");
      expect((await kernel.run("kept")).evalue).toContain("Cannot find name 'kept'");
    } finally {
      await kernel.close();
    }
  });

  test("the subprocesses of cells end too", async () => {
    const kernel = await TestKernel.start();
    const { result } = await kernel.ok('require("node:child_process").spawn("sleep", ["600"]).pid');
    const pid = Number(result);
    await kernel.close();
    await until(() => !alive(pid));
  });
});
