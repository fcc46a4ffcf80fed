import { stripVTControlCharacters } from "node:util";
import { describe, expect, test } from "vitest";
import { sharedKernel } from "../cells.test.helper.ts";

const shared = sharedKernel();

/** The text of a Proxy: its target, which Node.js 26 formats as `Proxy(...)`. */
const proxy = (target: string) => new RegExp(`^(Proxy\\()?${target.replace(/[[\](){}]/g, "\\$&")}\\)?$`);

describe("a result that misbehaves when it is formatted is still shown:", () => {
  const custom = '[Symbol.for("nodejs.util.inspect.custom")]';
  const display = '[Symbol.for("Jupyter.display")]';
  test.each([
    ["an unsettled promise", "new Promise(() => {})", "Promise { <pending> }"],
    ["a settled promise", "Promise.resolve(3)", "3"],
    ["a promise of a promise", "(async () => Promise.resolve([4]))()", "[ 4 ]"],
    [
      "a Proxy with a value for every key",
      "new Proxy({ a: 1 }, { get: () => () => new Promise(() => {}) })",
      proxy("{ a: 1 }"),
    ],
    [
      "a Proxy of a function that returns itself",
      "const p = new Proxy(function () {}, { get: () => p, apply: () => p }); p",
      proxy("[Function (anonymous)]"),
    ],
    ["a Proxy that throws", "new Proxy({}, new Proxy({}, { get() { throw new Error('trap') } }))", proxy("{}")],
    ["a revoked Proxy", "const r = Proxy.revocable({}, {}); r.revoke(); r.proxy", "<Revoked Proxy>"],
    ["a thenable", "({ then() {} })", "{ then: [Function: then] }"],
    ["a then that throws", "({ get then() { throw new Error('then') } })", "{ then: [Getter] }"],
    ["inspect.custom that throws", `({ a: 1, ${custom}() { throw new Error('no') } })`, /^{ a: 1, \[?Symbol/],
    ["Jupyter.display that throws", `({ ${display}() { throw new Error('no') } })`, /\]\(\) failed: no$/],
    ["Jupyter.display that rejects", `({ async ${display}() { throw new Error('no') } })`, /\]\(\) failed: no$/],
    [
      "Jupyter.display that returns no bundle",
      `({ ${display}() { return 5 } })`,
      /failed: it returned 5, expected a MIME bundle$/,
    ],
    [
      "Jupyter.display that returns circular data",
      `({ ${display}() { const a: any = {}; a.a = a; return { "application/json": a } } })`,
      /failed: cannot show "application\/json"/,
    ],
    ["a getter for Jupyter.display that throws", `({ get ${display}() { throw new Error('no') } })`, /failed: no$/],
    [
      "getters that throw",
      "({ get outerHTML() { throw 1 }, get toSpec() { throw 2 } })",
      "{ outerHTML: [Getter], toSpec: [Getter] }",
    ],
    ["a circular object", "const c: any = {}; c.c = c; c", "<ref *1> { c: [Circular *1] }"],
    [
      "toJSON, toString and toPrimitive that throw",
      "({ toJSON() { throw 1 }, toString() { throw 1 }, [Symbol.toPrimitive]() { throw 1 } })",
      /toJSON: \[Function: toJSON\]/,
    ],
    ["a null prototype", "Object.create(null)", "[Object: null prototype] {}"],
  ])("%s", async (_what, code, expected) => {
    const { result } = await shared.current.ok(`%check off\n${code}`);
    if (typeof expected === "string") expect(result).toBe(expected);
    else expect(result).toMatch(expected);
  });

  test("very long texts are truncated", async () => {
    const { result } = await shared.current.ok(`"x".repeat(1e8)`);
    expect(result?.length).toBeLessThan(20_000);
    const own = await shared.current.ok(`({ ${custom}() { return "y".repeat(1e7) } })`);
    expect(own.result?.length).toBeLessThan(1_100_000);
  });

  test("formatting that never returns times out", async () => {
    const code = `%check off\n({ a: 1, get ${display}() { const end = Date.now() + 60_000; while (Date.now() < end); } })`;
    expect((await shared.current.ok(code)).result).toContain("did not return within 5 s");
    expect(
      (await shared.current.ok(`%check off\n({ ${display}() { return new Promise(() => {}) } })`)).result,
    ).toContain("did not settle within 5 s");
  }, 30_000);
});

test("display shows such values as well", async () => {
  const { messages } = await shared.current.ok(
    "%check off\ndisplay(new Proxy({}, { get() { throw new Error('trap') } })); 1",
  );
  const [display] = messages.filter(({ header }) => header.msg_type === "display_data");
  expect(
    stripVTControlCharacters(String((display?.content.data as Record<string, string> | undefined)?.["text/plain"])),
  ).toMatch(proxy("{}"));
});

test.each([
  "throw new Proxy({}, { get() { throw new Error('trap') } })",
  "const q = Proxy.revocable({}, {}); q.revoke(); throw q.proxy",
  "throw Object.assign(new Error('x'), { get message() { throw 1 } })",
  "throw { get name() { throw 1 }, toString() { throw 2 } }",
])("a misbehaving thrown value is shown as an error: %s", async (code) => {
  const { status, reply } = await shared.current.run(`%check off\n${code}`);
  expect([status, typeof reply.content.ename]).toEqual(["error", "string"]);
  await shared.current.ok("1");
});

test("a later rejection of a pending result is reported", async () => {
  const kernel = shared.current;
  let reported = "";
  const forget = kernel.client.onMessage((_channel, { header, content }) => {
    if (header.msg_type === "error") reported = String(content.evalue);
  });
  await kernel.ok("new Promise((_, reject) => setTimeout(() => reject(new Error('too late')), 300))");
  await kernel.ok("await new Promise((done) => setTimeout(done, 300))");
  forget();
  expect(reported).toBe("too late");
});
