import { describe, expect, test } from "vitest";
import { sharedKernel, TestKernel, until } from "../cells.test.helper.ts";

const shared = sharedKernel({ "spin.ts": "export function spin(): never { for (;;) {} }\n" });

/** Runs a cell and interrupts it after its first output. Returns the outcome and how long the interrupt took. */
async function interrupted(kernel: TestKernel, code: string, delayMs = 0) {
  let started = false;
  const running = kernel.run(`%check off\nconsole.log("under way");\n${code}`, {
    allowStdin: true,
    onOutput: ({ header }) => {
      if (header.msg_type === "stream") started = true;
    },
  });
  await until(() => started);
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  const before = performance.now();
  await kernel.client.interrupt();
  const outcome = await running;
  return { ...outcome, ms: performance.now() - before };
}

describe("an interrupt keeps all variables and stops", () => {
  test.each([
    ["a loop", "while (true) { count++ }"],
    ["an empty loop", "for (;;);"],
    ["a loop after an await", "await 1; await new Promise((done) => setTimeout(done, 5)); while (true) { count++ }"],
    ["a loop in an awaited function", "async function f() { await null; for (;;) { count++ } }\nawait f()"],
    ["a loop in a timer", "await new Promise(() => setTimeout(() => { for (;;) { count++ } }, 1))"],
    ["a loop in an imported file", 'const { spin } = await import("./spin.ts"); spin()'],
    ["a loop that catches the first interruption", "while (true) { try { while (true) {} } catch {} }"],
    ["an await", "await new Promise(() => {})"],
    ["an endless series of microtasks", "for (;;) await null"],
    ["an endless async recursion", "async function f(): Promise<void> { await null; return f() }\nawait f()"],
    [
      "an async iteration",
      "async function* g() { for (;;) { await null; yield 1 } }\nfor await (const x of g()) count += x",
    ],
    ["a busy library", '/(a+)+b/.test("a".repeat(60))'],
    ["a synchronous subprocess", 'require("node:child_process").execSync("sleep 30")'],
    ["an unanswered prompt", 'prompt("?")'],
  ])("%s", async (_what, code) => {
    const kernel = shared.current;
    await kernel.ok("let count = 0; const kept = new Map([['a', 1]]);");
    const { status, ename, ms } = await interrupted(kernel, code);
    expect([status, ename]).toEqual(["error", "Interrupted"]);
    expect(ms).toBeLessThan(3000);
    expect((await kernel.ok("kept.get('a')")).result).toBe("1");
  });
});

describe("an interrupted cell", () => {
  test("does not continue in the background", async () => {
    const kernel = shared.current;
    await kernel.ok("let ticks = 0");
    await interrupted(kernel, "for (;;) { await new Promise((done) => setTimeout(done, 2)); ticks++ }");
    await kernel.ok("const then = ticks; await new Promise((done) => setTimeout(done, 50))");
    expect((await kernel.ok("ticks - then")).result).toBe("0");
  });

  test("that uses the interrupt signal ends itself", async () => {
    const kernel = shared.current;
    const done = await interrupted(
      kernel,
      `const signal = globalThis[Symbol.for("anneal.notebook")].interruptSignal();
       let steps = 0;
       while (!signal.aborted) { await new Promise((done) => setTimeout(done, 10)); steps++ }
       "stopped after a whole step"`,
    );
    expect([done.status, done.result]).toEqual(["ok", "'stopped after a whole step'"]);
  });

  test("shows where it was interrupted", async () => {
    const { traceback } = await interrupted(shared.current, "let i = 0;\nwhile (true) { i++ }");
    expect(traceback).toMatch(/^Interrupted: the cell was interrupted; its variables are kept\n {4}at In\[\d+\]:4:/);
  });

  test("aborts the queued cells", async () => {
    const kernel = shared.current;
    let started = false;
    const first = kernel.run('console.log("under way"); await new Promise(() => {})', {
      onOutput: ({ header }) => {
        if (header.msg_type === "stream") started = true;
      },
    });
    const second = kernel.run("1");
    await until(() => started);
    await kernel.client.interrupt();
    expect([(await first).status, (await second).status]).toEqual(["error", "aborted"]);
    // Front-ends show the execution count of the reply, but this cell did not run.
    expect((await second).reply.content).toEqual({ status: "aborted" });
  });

  test("is interrupted even if the interrupt overtakes the execute_request", async () => {
    const { client } = shared.current;
    const request = client.message("execute_request", { code: "for (;;);", silent: false });
    await until(() => new Date().toISOString() > request.header.date);
    await client.interrupt();
    let reply: Record<string, unknown> | undefined;
    const forget = client.onMessage((channel, { parent_header, content }) => {
      if (channel === "shell" && parent_header.msg_id === request.header.msg_id) reply = content;
    });
    client.send("shell", request);
    await until(() => reply !== undefined);
    forget();
    expect(reply?.ename).toBe("Interrupted");
    await shared.current.ok("1");
  });

  // `npm run test:all` interrupts more often.
  const rounds = process.env.ANNEAL_TEST_ALL === "1" ? 1000 : 200;
  test(`keeps its variables through ${rounds} interrupts at random times`, async () => {
    const kernel = shared.current;
    await kernel.ok("let rounds = 0; const precious = { safe: true };");
    for (let round = 0; round < rounds; round++) {
      const cell = kernel.run(round % 2 ? "rounds++; while (true) {}" : "rounds++; await new Promise(() => {})");
      await new Promise((resolve) => setTimeout(resolve, (round * 7) % 12));
      // An interrupt that arrives before the cell starts applies to it as well.
      await kernel.client.interrupt();
      expect((await cell).ename).toBe("Interrupted");
    }
    expect((await kernel.ok("precious.safe")).result).toBe("true");
  });
});

test("an interrupted loop keeps the value of a top-level counter", async () => {
  const kernel = shared.current;
  await kernel.ok("let counted = 0; let total = 0");
  await interrupted(kernel, "for (;;) { counted++; total += counted % 3; }");
  expect((await kernel.ok("counted > 1000 && total > 1000")).result).toBe("true");
  // A variable that a function references is never copied.
  await kernel.ok("let seen = 0; const log: number[] = []; const look = { get now() { log.push(seen); return 1 } }");
  await kernel.ok("for (let i = 0; i < 3; i++) seen += look.now");
  expect((await kernel.ok("[seen, ...log]")).result).toBe("[ 3, 0, 1, 2 ]");
});

test("SIGINT interrupts like an interrupt_request", async () => {
  const kernel = shared.current;
  let started = false;
  const running = kernel.run('console.log("under way"); while (true) {}', {
    onOutput: ({ header }) => {
      if (header.msg_type === "stream") started = true;
    },
  });
  await until(() => started);
  process.kill(kernel.client.pid ?? 0, "SIGINT");
  expect((await running).ename).toBe("Interrupted");
});

test("an interrupt of an idle kernel has no effect", async () => {
  await shared.current.client.interrupt();
  expect((await shared.current.ok("let n = 0; for (let i = 0; i < 1000; i++) n++; n")).result).toBe("1000");
});

test("an interrupt stops a timer callback that loops after its cell has ended", async () => {
  const kernel = shared.current;
  let looping = false;
  const forget = kernel.client.onMessage((_channel, { content }) => {
    if (content.text === "looping\n") looping = true;
  });
  await kernel.ok('setTimeout(() => { console.log("looping"); for (;;) {} }, 20); undefined');
  await until(() => looping);
  forget();
  await kernel.client.interrupt();
  expect((await kernel.ok("1 + 1")).result).toBe("2");
});

test("a cell that cannot be stopped is killed with a StateLost error, and the kernel works again", async () => {
  const kernel = await TestKernel.start();
  try {
    await kernel.ok("const lost = 1");
    // Only the end of the process stops this wait. On a busy machine the cell takes a moment to start.
    const wait = "await null; Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)";
    const stuck = await interrupted(kernel, wait, 500);
    expect([stuck.status, stuck.ename]).toEqual(["error", "StateLost"]);
    expect(stuck.evalue).toContain("was killed");
    expect(stuck.ms).toBeGreaterThan(4500);
    expect((await kernel.ok("1 + 1")).result).toBe("2");
  } finally {
    await kernel.close();
  }
});
