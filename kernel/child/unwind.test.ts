import { describe, expect, test } from "vitest";
import { sharedKernel, type TestKernel, until } from "../cells.test.helper.ts";

const shared = sharedKernel({
  "retry.ts": `export async function retry(work: () => Promise<void>): Promise<void> {
    for (;;) {
      try { await work(); await new Promise((done) => setTimeout(done, 5)); } catch { await null; }
    }
  }\n`,
});

/** Runs a cell that calls `send` repeatedly, interrupts it after three calls, and returns what it did after that. */
async function interruptedWhileSending(kernel: TestKernel, code: string) {
  await kernel.ok(`let sent = 0; let log: unknown[] = []; const kept = { safe: true };
    const sleep = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
    async function send(fails = false) { sent++; if (sent <= 3) console.log("sent"); await sleep(5); if (fails) throw new Error("no answer"); }`);
  let calls = 0;
  const running = kernel.run(`%check off\n${code}`, {
    onOutput: ({ header, content }) => {
      if (header.msg_type === "stream") calls += String(content.text).split("sent").length - 1;
    },
  });
  await until(() => calls >= 3);
  const before = performance.now();
  await kernel.client.interrupt();
  const outcome = await running;
  const ms = performance.now() - before;
  const after = await kernel.ok("const then = sent; await sleep(60); [sent - then, kept.safe]");
  return { ...outcome, ms, after: after.result, log: async () => (await kernel.ok("log.join()")).result };
}

describe("no code of an interrupted cell continues:", () => {
  test.each([
    ["await in try/catch", "for (;;) { try { await send() } catch { log.push('skipped') } }"],
    ["catch that continues", "while (true) { try { await send(true) } catch (error) { continue } }"],
    ["catch with a pattern", "while (true) { try { await send(true) } catch ({ message }) { log.push(message) } }"],
    [
      "for await",
      "async function* source() { for (;;) { await sleep(5); yield 1 } }\nfor (;;) { try { for await (const x of source()) await send() } catch {} }",
    ],
    [
      "catch in a nested async function",
      "async function one() { try { await send() } catch { return } }\nasync function all() { for (;;) await one() }\nawait all()",
    ],
    ["promise.catch", "for (;;) await send().catch(() => {})"],
    [
      "a chain of catch and then",
      "const next = (): Promise<void> => send(true).catch(() => {}).then(next)\nawait next()",
    ],
    [
      "a retry helper of the cell",
      "async function retry(work) { for (;;) { try { return await work() } catch { await sleep(1) } } }\nawait retry(async () => { for (;;) await send() })",
    ],
    ["a retry helper of a file", 'const { retry } = await import("./retry.ts"); await retry(() => send())'],
    ["finally with its own await", "for (;;) { try { await send() } catch {} finally { await sleep(1) } }"],
    ["Promise.race", "for (;;) { try { await Promise.race([send(), sleep(20)]) } catch {} }"],
    ["Promise.allSettled", "for (;;) { await Promise.allSettled([send(), send(true)]) }"],
    ["an interval", "setInterval(() => { void send() }, 5); await new Promise(() => {})"],
    [
      "an interval that catches",
      "setInterval(async () => { try { await send() } catch {} }, 5); await new Promise(() => {})",
    ],
    [
      "a chain of timers",
      "const tick = () => { send().catch(() => {}); setTimeout(tick, 5) }; tick(); await new Promise(() => {})",
    ],
    [
      "async functions that are not awaited",
      "for (let i = 0; i < 3; i++) (async () => { for (;;) { try { await send() } catch {} } })()\nawait new Promise(() => {})",
    ],
    [
      "a busy loop that catches",
      "for (;;) { try { await send(); for (let i = 0; i < 1e5; i++) { try { sent += 0 } catch {} } } catch {} }",
    ],
    ["return in finally", "async function one() { try { await send() } finally { return } }\nfor (;;) await one()"],
    [
      "an event emitter",
      'const e = new (require("node:events"))(); e.on("x", async () => { try { await send() } catch {} e.emit("x") }); e.emit("x"); await new Promise(() => {})',
    ],
  ])("%s", async (_what, code) => {
    const { ename, after, ms } = await interruptedWhileSending(shared.current, code);
    expect([ename, after]).toEqual(["Interrupted", "[ 0, true ]"]);
    expect(ms).toBeLessThan(2500);
  });
});

describe("finally blocks of an interrupted cell", () => {
  test.each([
    [
      "run immediately",
      "await send(); await send(); await send(); try { await sleep(60_000) } finally { log.push('closed') }",
      "closed",
    ],
    [
      "can await and call functions",
      `async function close() { await sleep(20); try { await send(true) } catch { log.push("caught") } log.push("closed") }
       await send(); await send(); send(); try { await sleep(60_000) } finally { await close(); log.push("done") }`,
      "caught,closed,done",
    ],
    [
      "run from inner to outer",
      `async function inner() { try { await sleep(10); await sleep(60_000) } finally { await sleep(5); log.push("inner") } }
       await send(); await send(); send(); try { await sleep(1); await inner() } catch { log.push("never") } finally { log.push("outer") }`,
      "inner,outer",
    ],
    [
      "run around for await, and close the iterator",
      `async function* source() { try { for (;;) { await sleep(5); yield 1 } } finally { log.push("source") } }
       try { for await (const x of source()) await send() } finally { await sleep(10); log.push("closed") }`,
      "source,closed",
    ],
    [
      "run after a busy loop is stopped",
      "await send(); await send(); await send(); try { for (;;) {} } catch { log.push('never') } finally { await sleep(5); for (const x of [1, 2]) log.push(x) }",
      "1,2",
    ],
    [
      "include callbacks of promise.finally",
      "await Promise.all([1, 2, 3].map(() => send())); try { await sleep(60_000) } finally { await sleep(5).finally(() => log.push('closed')) }",
      "closed",
    ],
    [
      "run before `using` disposes",
      `using file = { [Symbol.dispose]() { log.push("disposed") } };
       await send(); await send(); send(); try { await sleep(60_000) } finally { await sleep(5); log.push("closed") }`,
      "closed,disposed",
    ],
  ])("%s", async (_what, code, expected) => {
    const { ename, ms, log } = await interruptedWhileSending(shared.current, code);
    expect([ename, await log()]).toEqual(["Interrupted", `'${expected}'`]);
    expect(ms).toBeLessThan(1500);
  });

  test("time out if they do not end", async () => {
    const code =
      "await send(); await send(); send(); try { await sleep(60_000) } finally { for (;;) { try { await send() } catch {} } }";
    const { ename, after, ms } = await interruptedWhileSending(shared.current, code);
    expect([ename, after]).toEqual(["Interrupted", "[ 0, true ]"]);
    expect(ms).toBeLessThan(3500);
  });
});

test("a later cell can catch the error of an interrupted one and listen to its objects", async () => {
  const kernel = shared.current;
  await interruptedWhileSending(
    kernel,
    'var ticker = new (require("node:events"))(); setInterval(ticker.emit.bind(ticker, "tick"), 5); var work = (async () => { for (;;) await send() })(); await work',
  );
  await kernel.ok("try { await work } catch (error: any) { log.push(error.name) }");
  expect(
    (await kernel.ok("%check off\nawait new Promise((done) => ticker.once('tick', () => done(0))); log.join()")).result,
  ).toBe("'Interrupted'");
});

test("the order in which promises settle is not changed", async () => {
  const { result } = await shared.current.ok(`const order: string[] = [];
    async function second() { order.push("second") }
    async function first() { order.push("first"); await second(); order.push("first ends") }
    void first(); Promise.resolve().then(() => order.push("then"));
    await new Promise((done) => setTimeout(done)); order.join(", ")`);
  expect(result).toBe("'first, second, first ends, then'");
});
