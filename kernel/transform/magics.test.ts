import { describe, expect, test } from "vitest";
import { alive, sharedKernel, until } from "../cells.test.helper.ts";
import { readInspection, readMagics } from "./magics.ts";

const shared = sharedKernel({
  "package.json": '{ "name": "notebook", "private": true }',
  "made-here/package.json":
    '{ "name": "made-here", "version": "1.0.0", "type": "module", "exports": { ".": { "types": "./i.d.ts", "default": "./i.js" } } }',
  "made-here/i.js": "export const made = 1",
  "made-here/i.d.ts": "export const made: number",
});

describe("%npm", () => {
  test("a missing package is reported with an install button; after installation it can be imported with its types", async () => {
    const kernel = shared.current;
    const untyped = await kernel.run('%check off\nimport { made } from "made-here"');
    const wrong = await kernel.run('import { made } from "made-here/sub"; made');
    expect(wrong.ename).toBe("TS2307");
    expect(wrong.traceback).toContain("The package made-here is not installed. To install: %npm install made-here");
    for (const { messages } of [untyped, wrong]) {
      const [offer] = messages.filter(({ header }) => header.msg_type === "display_data");
      const data = offer?.content.data as Record<string, string>;
      expect(data["text/html"]).toMatch(/<button .*data-commandlinker-command.*Install made-here<\/button>/);
      expect(data["text/plain"]).toBe("To install it, run: %npm install made-here");
    }
    expect((await kernel.ok("%npm install ./made-here")).stdout).toMatch(/added 1 package/);
    expect((await kernel.ok('import { made } from "made-here"; made.toFixed(1)')).result).toBe("'1.0'");
    expect((await kernel.run("made.toUpperCase()")).ename).toBe("TS2339");
  });

  test("if npm fails, its output is shown and the cell does not run", async () => {
    const failed = await shared.current.run('%npm install ./nowhere\nconsole.log("ran")');
    expect(failed).toMatchObject({ status: "error", stdout: "" });
    expect(failed.stderr).toContain("ENOENT");
    expect(failed.evalue).toContain("npm install ./nowhere exited with");
  });

  test("a missing file or Node.js module gets no install button", async () => {
    for (const specifier of ["./nowhere.ts", "node:fss", "@/utils"]) {
      const { messages } = await shared.current.run(`import "${specifier}"; import * as x from "${specifier}"; x`);
      expect(messages.filter(({ header }) => header.msg_type === "display_data")).toEqual([]);
    }
  });
});

describe("%time and %%time", () => {
  const times = /^CPU times: user .*, sys: .*, total: .*\nWall time: (.*)\n$/;

  test("print the time of a statement or cell, and its result", async () => {
    const kernel = shared.current;
    const one = await kernel.ok("%time await new Promise((done) => setTimeout(() => done(7), 30))");
    expect(one.result).toBe("7");
    expect(Number.parseFloat(times.exec(one.stdout)?.[1] ?? "")).toBeGreaterThan(25);
    const all = await kernel.ok("%%time\nconst a = 1;\na + 1");
    expect(all.result).toBe("2");
    expect(all.stdout).toMatch(times);
  });

  test("%time with a second statement suggests %%time", async () => {
    const { evalue, traceback } = await shared.current.run("%time 1\n2");
    expect(evalue).toContain("%time times one statement");
    expect(traceback).toContain("%%time");
  });
});

describe("%env", () => {
  test("sets, prints and lists variables, and hides secrets", async () => {
    const kernel = shared.current;
    await kernel.ok("%env ANNEAL_TEST=one two\n%env ANNEAL_TEST_TOKEN abc");
    expect((await kernel.ok("process.env.ANNEAL_TEST")).result).toBe("'one two'");
    expect((await kernel.ok("%env ANNEAL_TEST")).stdout).toBe("one two\n");
    const { stdout } = await kernel.ok("%env");
    expect(stdout).toContain("ANNEAL_TEST=one two\n");
    expect(stdout).toContain("ANNEAL_TEST_TOKEN=<hidden>\n");
    expect((await kernel.run("%env ANNEAL_NOWHERE")).evalue).toContain("ANNEAL_NOWHERE is not set");
  });
});

test("%reset deletes variables and types, but not the kernel's globals", async () => {
  const kernel = shared.current;
  await kernel.ok("const before = 1; interface Before { a: 1 }");
  await kernel.ok("%reset\nconst after = 2");
  expect((await kernel.run("before")).evalue).toContain("Cannot find name 'before'");
  expect((await kernel.run("%check off\nbefore")).evalue).toBe("before is not defined");
  expect((await kernel.run("let x: Before")).evalue).toContain("Cannot find name 'Before'");
  expect((await kernel.ok("[after, typeof require, typeof display]")).result).toBe("[ 2, 'function', 'function' ]");
});

describe("%%sh", () => {
  test("runs the rest of the cell in the shell, with streamed output and the environment", async () => {
    const { stdout, stderr } = await shared.current.ok(
      "%env SHOWN=yes\n%%sh\necho $SHOWN\nif true; then\n  pwd >&2\nfi",
    );
    expect(stdout).toBe("env: SHOWN=yes\nyes\n");
    expect(stderr).toBe(`${shared.current.folder}\n`);
  });

  test("a failure is an error", async () => {
    expect((await shared.current.run("%%sh\nexit 3")).evalue).toBe("sh exited with 3");
  });

  test("can be interrupted, which also ends its subprocesses", async () => {
    const kernel = shared.current;
    let started = "";
    const cell = kernel.run("%%sh\nsh -c 'echo $$; exec sleep 100'\necho never", {
      onOutput({ header, content }) {
        if (header.msg_type === "stream") started = String(content.text);
      },
    });
    await until(() => started !== "");
    await kernel.client.interrupt();
    expect((await cell).ename).toBe("Interrupted");
    await until(() => !alive(Number(started)));
    expect(started).not.toContain("never");
  });
});

test("the error for an unknown magic lists the available ones", async () => {
  const { evalue, traceback } = await shared.current.run("%matplotlib inline");
  expect(evalue).toContain("unknown magic %matplotlib");
  for (const magic of ["%npm", "%check", "%time", "%%time", "%env", "%reset", "%%sh"])
    expect(traceback).toContain(magic);
});

test("??name shows the source from a cell or from a library's types", async () => {
  const kernel = shared.current;
  const page = async (code: string) => {
    const { reply } = await kernel.ok(code);
    return (reply.content.payload as { data: Record<string, string> }[])[0]?.data["text/plain"];
  };
  await kernel.ok("/** Doubles. */\nfunction twice(n: number) {\n  return n * 2;\n}\nconst other = 1;");
  expect(await page("??twice")).toContain("/** Doubles. */\nfunction twice(n: number) {\n  return n * 2;\n}");
  expect(await page("twice??")).not.toContain("other");
  expect(await page("?twice")).not.toContain("return n * 2");
  expect(await page("??Array.isArray")).toContain("isArray(arg: any): arg is any[]");
});

test("magics are completed at the start of a cell", async () => {
  const ask = async (code: string) =>
    (await shared.current.client.request("shell", "complete_request", { code, cursor_pos: code.length })).content
      .matches;
  expect(await ask("%")).toEqual(["%npm", "%check", "%time", "%%time", "%env", "%reset", "%%sh"]);
  expect(await ask("%check off\n%re")).toEqual(["%reset"]);
  expect(await ask("%%")).toEqual(["%%time", "%%sh"]);
});

test("?name and name? are inspections, but a question mark in an expression is not", () => {
  expect(readInspection("?process.version")).toEqual({ name: "process.version", source: false });
  expect(readInspection(" display?? ")).toEqual({ name: "display", source: true });
  expect(readInspection("a ? b : c")).toBeUndefined();
});

test("magics do not change the line numbers of the cell", () => {
  expect(readMagics("%check off\n\n  %env A=1\nx").source).toBe("\n\n\nx");
  expect(readMagics("x % 2").source).toBe("x % 2");
  expect(readMagics("%time f()").source).toBe("      f()");
});
