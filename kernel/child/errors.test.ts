import { expect, test } from "vitest";
import { sharedKernel } from "../cells.test.helper.ts";

const shared = sharedKernel();

test.each([
  [
    "its own properties",
    'throw Object.assign(new Error("failed"), { status: 404, response: { data: { reason: "gone" } } })',
    ["    status: 404", "    response: { data: { reason: 'gone' } }"],
  ],
  [
    "fields of a class",
    'class HttpError extends Error { status = 503; code = "E_BUSY"; headers = new Map([["retry-after", 3]]) }\nthrow new HttpError("busy")',
    ["    status: 503", "    code: 'E_BUSY'", "    headers: Map(1) { 'retry-after' => 3 }"],
  ],
  [
    "properties of Node.js errors",
    'require("node:fs").readFileSync("/nowhere")',
    ["    code: 'ENOENT'", "    syscall: 'open'", "    path: '/nowhere'"],
  ],
  [
    "properties of its cause",
    'throw new Error("outer", { cause: Object.assign(new Error("inner"), { status: 500 }) })',
    ["caused by Error: inner", "    status: 500"],
  ],
  ["a cause that is not an error", 'throw new Error("outer", { cause: { code: 7 } })', ["caused by { code: 7 }"]],
  [
    "the errors of an AggregateError",
    'throw new AggregateError([Object.assign(new Error("a"), { code: "A" }), "b", 3, 4, 5, 6, 7], "all failed")',
    ["AggregateError: all failed", "among them Error: a", "    code: 'A'", "among them 'b'", "… and 2 more"],
  ],
  ["long properties truncated", 'throw Object.assign(new Error("x"), { body: "y".repeat(1e6) })', ["    body: 'yyy"]],
  [
    "getters without calling them",
    'throw Object.defineProperty(new Error("x"), "g", { enumerable: true, get() { throw 1 } })',
    ["    g: [Getter]"],
  ],
  ["circular causes once", 'const e: any = new Error("x"); e.cause = e; e.self = e; throw e', ["Error: x"]],
])("an error shows %s", async (_what, code, lines) => {
  const { traceback } = await shared.current.run(`%check off\n${code}`);
  for (const line of lines) expect(traceback).toContain(line);
  expect(traceback.length).toBeLessThan(5000);
});

test.each([
  ["const App = () => <div>hello</div>;\nApp()", 1],
  ["const n = 1;\n<><b>{n}</b></>", 2],
  ["const page = (\n  <Page title={'a'} />\n);", 2],
])("the error for JSX suggests alternatives: %s", async (code, line) => {
  const { ename, evalue, traceback } = await shared.current.run(code);
  expect([ename, evalue]).toEqual(["SyntaxError", `a cell cannot contain JSX (line ${line})`]);
  expect(traceback).toContain(".tsx file");
});
