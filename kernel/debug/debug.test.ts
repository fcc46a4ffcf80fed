import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestKernel, until } from "../cells.test.helper.ts";
import { murmur2 } from "./sources.ts";
import type { Variable } from "./values.ts";

interface Response {
  success: boolean;
  message?: string;
  // The type of the body depends on the command.
  body: Record<string, never>;
}

let kernel: TestKernel;
const events: { event: string; body: Record<string, unknown> }[] = [];
let seq = 0;

async function send(command: string, args: Record<string, unknown> = {}): Promise<Response> {
  const { content } = await kernel.client.request("control", "debug_request", {
    type: "request",
    seq: ++seq,
    command,
    arguments: args,
  });
  expect(content).toMatchObject({ type: "response", request_seq: seq, command });
  return content as unknown as Response;
}

/** Returns the body of a response, which must be successful. */
async function body<T>(command: string, args: Record<string, unknown> = {}): Promise<T> {
  const response = await send(command, args);
  expect(response.message, command).toBeUndefined();
  return response.body as T;
}

/** Waits for the next pause and returns its position. */
async function stop(): Promise<{
  reason: unknown;
  frames: { id: number; name: string; line: number; source: { path: string } }[];
}> {
  await until(() => events.some(({ event }) => event === "stopped"));
  const at = events.findIndex(({ event }) => event === "stopped");
  const [stopped] = events.splice(0, at + 1).slice(-1);
  const { stackFrames } = await body<{ stackFrames: never[] }>("stackTrace", { threadId: 1 });
  return { reason: stopped?.body.reason, frames: stackFrames };
}

async function variables(frameId: number, scope = "Locals"): Promise<Record<string, Variable>> {
  const { scopes } = await body<{ scopes: { name: string; variablesReference: number }[] }>("scopes", { frameId });
  const variablesReference = scopes.find(({ name }) => name === scope)?.variablesReference;
  const { variables } = await body<{ variables: Variable[] }>("variables", { variablesReference });
  return Object.fromEntries(variables.map((each) => [each.name, each]));
}

const breakAt = async (code: string, ...lines: number[]) => {
  const { sourcePath } = await body<{ sourcePath: string }>("dumpCell", { code });
  await body("setBreakpoints", { source: { path: sourcePath }, breakpoints: lines.map((line) => ({ line })) });
  return sourcePath;
};

beforeAll(async () => {
  kernel = await TestKernel.start({
    "helper.ts":
      "interface Unused { a: 1 }\n\nexport function helped(n: number): number {\n  const twice = n * 2;\n  return twice;\n}\n",
  });
  kernel.client.onMessage((_channel, { header, content }) => {
    if (header.msg_type === "debug_event") events.push(content as never);
  });
  expect((await kernel.client.request("shell", "kernel_info_request")).content).toMatchObject({ debugger: true });
  expect(await body("debugInfo")).toMatchObject({ isStarted: false, hashMethod: "Murmur2", richRendering: true });
  await body("initialize", { clientID: "test" });
  await body("attach");
});
afterAll(() => kernel.close());

test("cell paths use the same hash as front-ends", async () => {
  // The result of JupyterLab's hash function.
  expect([murmur2("", 1), murmur2("const a = 1", 0x7e7e5eed), murmur2("x // ü", 7)]).toEqual([
    1540447798, 3607509348, 2430950242,
  ]);
  const info = await body<{ tmpFilePrefix: string; tmpFileSuffix: string; hashSeed: number }>("debugInfo");
  const { sourcePath } = await body<{ sourcePath: string }>("dumpCell", { code: "x // ü" });
  expect(sourcePath).toBe(`${info.tmpFilePrefix}${murmur2("x // ü", info.hashSeed)}${info.tmpFileSuffix}`);
  expect(await body("source", { source: { path: sourcePath } })).toMatchObject({ content: "x // ü" });
});

describe("a breakpoint", () => {
  const code = [
    "interface Point { x: number }",
    "type Alias = Point;",
    "function area(p: Alias, scale: number): number {",
    "  const squared = p.x ** 2;",
    "  let result = squared;",
    "  for (let i = 0; i < 2; i++) {",
    "    result += i * scale;",
    "  }",
    "  return result;",
    "}",
    "const point: Point = { x: 3 };",
    "const answer = area(point, 10);",
    "answer",
  ].join("\n");

  test("pauses at the source line; variables can be read, changed and evaluated", async () => {
    const path = await breakAt(code, 6);
    const cell = kernel.run(code);
    const { reason, frames } = await stop();
    expect(reason).toBe("breakpoint");
    expect(frames.map(({ name, line, source }) => [name, line, source.path])).toEqual([
      ["area", 6, path],
      ["cell", 12, path],
    ]);
    const [inner, outer] = frames;
    const locals = await variables(inner?.id ?? 0);
    expect(locals.squared).toMatchObject({ value: "9", type: "number", variablesReference: 0 });
    expect(locals.p).toMatchObject({ value: "{x: 3}", type: "object" });
    const parts = await body<{ variables: Variable[] }>("variables", {
      variablesReference: locals.p?.variablesReference,
    });
    expect(parts.variables).toMatchObject([{ name: "x", value: "3", evaluateName: "p.x" }]);
    expect(Object.keys(await variables(outer?.id ?? 0))).toContain("point");
    expect(Object.keys(await variables(inner?.id ?? 0, "Notebook"))).toContain("point");
    expect(Object.keys(locals).filter((name) => name.startsWith("__"))).toEqual([]);

    const evaluate = (expression: string) => body("evaluate", { expression, frameId: inner?.id, context: "repl" });
    expect(await evaluate("squared + point.x")).toMatchObject({ result: "12" });
    expect(await evaluate("result = 100")).toMatchObject({ result: "100" });
    expect((await send("evaluate", { expression: "nowhere", frameId: inner?.id })).message).toContain(
      "nowhere is not defined",
    );
    expect(await body("richInspectVariables", { variableName: "p", frameId: inner?.id })).toMatchObject({
      data: { "text/plain": expect.stringContaining("x:") },
    });
    await body("copyToGlobals", { srcVariableName: "p", dstVariableName: "copied", srcFrameId: inner?.id });

    await body("continue", { threadId: 1 });
    expect((await cell).result).toBe("110");
    expect((await kernel.ok("copied.x")).result).toBe("3");
    await breakAt(code);
  });

  test("supports stepping over, into and out by lines", async () => {
    await breakAt(code, 11);
    const cell = kernel.run(code);
    const lines: number[] = [];
    const note = async () => lines.push((await stop()).frames[0]?.line ?? 0);
    await note();
    for (const command of ["next", "stepIn", "next", "next", "next", "next", "stepOut"]) {
      await body(command, { threadId: 1 });
      await note();
    }
    expect(lines.slice(0, 6)).toEqual([11, 12, 4, 5, 6, 7]);
    // The rest of the calling line has no further step.
    expect(lines.at(-1)).toBe(13);
    await body("continue", { threadId: 1 });
    expect((await cell).result).toBe("19");
    await breakAt(code);
  });

  test("works in a function of an earlier cell, when set later, and after an await", async () => {
    const earlier = "async function later(n: number) {\n  await null;\n  return n + 1;\n}";
    await kernel.ok(earlier);
    await breakAt(earlier, 3);
    const cell = kernel.run("await later(4)");
    expect((await stop()).frames[0]).toMatchObject({ name: "later", line: 3 });
    await body("continue", { threadId: 1 });
    expect((await cell).result).toBe("5");
    await breakAt(earlier);
  });

  test("works in an imported TypeScript file, as do debugger statements", async () => {
    const path = join(kernel.folder, "helper.ts");
    await kernel.ok('import { helped } from "./helper.ts"');
    await body("setBreakpoints", { source: { path }, breakpoints: [{ line: 5 }] });
    const cell = kernel.run("debugger;\nhelped(4)");
    expect((await stop()).frames.map(({ line }) => line)).toEqual([1]);
    await body("continue", { threadId: 1 });
    const { frames } = await stop();
    expect(frames[0]).toMatchObject({ name: "helped", line: 5, source: { path } });
    expect((await variables(frames[0]?.id ?? 0)).twice).toMatchObject({ value: "8" });
    expect(await body("modules")).toMatchObject({ modules: [{ name: "helper.ts", path }] });
    await body("setBreakpoints", { source: { path }, breakpoints: [] });
    await body("continue", { threadId: 1 });
    expect((await cell).result).toBe("8");
  });
});

describe("exceptions", () => {
  test("pause execution depending on the filter: all exceptions or uncaught ones", async () => {
    const code = "try {\n  throw new Error('caught')\n} catch {}\nthrow new RangeError('left')";
    await body("setExceptionBreakpoints", { filters: ["raised"] });
    let cell = kernel.run(code);
    expect(await stop()).toMatchObject({ reason: "exception", frames: [{ line: 2 }] });
    await body("continue");
    expect(await stop()).toMatchObject({ reason: "exception", frames: [{ line: 4 }] });
    await body("continue");
    expect((await cell).evalue).toBe("left");
    await body("setExceptionBreakpoints", { filters: ["uncaught"] });
    cell = kernel.run(code);
    expect(await stop()).toMatchObject({ reason: "exception", frames: [{ line: 4 }] });
    await body("continue");
    await cell;
    await body("setExceptionBreakpoints", { filters: [] });
    expect((await kernel.run(code)).evalue).toBe("left");
  });
});

describe("without a pause", () => {
  test("variables of the notebook can be inspected, also as rich output", async () => {
    await kernel.ok('const list = [1, 2]; const mapped = new Map([["k", { v: 1 }]]); const text = "t"');
    const { variables } = await body<{ variables: Variable[] }>("inspectVariables");
    const byName = Object.fromEntries(variables.map((each) => [each.name, each]));
    expect(byName.list).toMatchObject({ value: "Array(2) [1, 2]", type: "array" });
    expect(byName.mapped?.value).toBe('Map(1) {"k" => Object}');
    expect(byName.text?.value).toBe('"t"');
    expect(await body("richInspectVariables", { variableName: "list" })).toMatchObject({
      data: { "text/plain": expect.anything() },
    });
    expect((await send("scopes", { frameId: 1 })).message).toBe("no cell is paused");
    expect((await send("flyToTheMoon")).message).toContain("does not support the command flyToTheMoon");
  });

  test("a paused cell can be interrupted, and a step past its end does not pause other cells", async () => {
    const code = "let n = 0;\nn++;\nn";
    await breakAt(code, 2);
    const cell = kernel.run(`${code}`);
    await stop();
    await kernel.client.interrupt();
    expect(["ok", "error"]).toContain((await cell).status);
    const again = kernel.run(code);
    await stop();
    await breakAt(code);
    for (let step = 0; step < 3; step++) {
      if ((await send("next")).success) await new Promise((resolve) => setTimeout(resolve, 30));
    }
    expect((await again).result).toBe("1");
    expect((await kernel.ok("n + 1")).result).toBe("2");
  });

  test("breakpoints persist when the child restarts, until the debug session ends", async () => {
    const code = "const q = 1;\nq + 1";
    await breakAt(code, 2);
    await kernel.run("process.exit(1)");
    events.length = 0;
    const cell = kernel.run(code);
    expect((await stop()).frames[0]?.line).toBe(2);
    await body("disconnect");
    expect((await cell).result).toBe("2");
    expect(await body("debugInfo")).toMatchObject({ isStarted: false, breakpoints: [{ breakpoints: [{ line: 2 }] }] });
    expect((await kernel.ok(code)).result).toBe("2");
  });
});
