import { randomBytes, randomUUID } from "node:crypto";
import { runInThisContext } from "node:vm";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Dealer } from "zeromq";
import { sharedKernel, TestKernel, until } from "../cells.test.helper.ts";
import { address } from "./connection.ts";

const shared = sharedKernel();

describe("user code that", () => {
  async function withKernel(work: (kernel: TestKernel) => Promise<void>): Promise<void> {
    const kernel = await TestKernel.start();
    try {
      await work(kernel);
    } finally {
      await kernel.close();
    }
  }

  test.each([
    ["process.abort()", "signal SIGABRT"],
    ["setImmediate(() => process.exit(4)); await new Promise(() => {})", "exit code 4"],
    ['process.emitWarning("bye"); process.kill(process.pid, "SIGKILL"); await new Promise(() => {})', "signal SIGKILL"],
  ])("runs %s: the cell fails with StateLost, and the kernel works again", (code, how) =>
    withKernel(async (kernel) => {
      const ended = await kernel.run(code);
      expect(ended.ename).toBe("StateLost");
      expect(ended.evalue).toContain(how);
      expect((await kernel.ok("6 * 7")).result).toBe("42");
    }),
  );

  test("allocates without limit: requests still get replies, and the cell ends with StateLost", async () => {
    process.env.NODE_OPTIONS = "--max-old-space-size=128";
    const kernel = await TestKernel.start();
    delete process.env.NODE_OPTIONS;
    try {
      const cell = kernel.run("const all: number[][] = []; while (true) all.push(new Array(10_000).fill(1))");
      expect((await kernel.client.request("control", "kernel_info_request")).content.status).toBe("ok");
      const ended = await cell;
      expect(ended.ename).toBe("StateLost");
      expect(ended.stderr).toContain("heap out of memory");
      expect((await kernel.ok("6 * 7")).result).toBe("42");
    } finally {
      await kernel.close();
    }
  });

  const storm =
    "const storm = (): void => { void Promise.resolve().then(storm) }; storm(); await new Promise(() => {})";

  async function stopped(kernel: TestKernel, code: string) {
    let started = false;
    const cell = kernel.run(`console.log("on"); ${code}`, {
      onOutput({ header }) {
        started ||= header.msg_type === "stream";
      },
    });
    await until(() => started);
    expect((await kernel.client.request("control", "kernel_info_request")).content.status).toBe("ok");
    await kernel.client.interrupt();
    return cell;
  }

  test("schedules microtasks forever: it can be interrupted without losing variables", () =>
    withKernel(async (kernel) => {
      await kernel.ok("const kept = 'kept'");
      for (const code of [
        storm,
        "function next(): void { process.nextTick(next) }; next(); await new Promise(() => {})",
        "const micro = (): void => queueMicrotask(micro); micro(); await new Promise(() => {})",
      ]) {
        expect((await stopped(kernel, code)).ename, code).toBe("Interrupted");
        expect((await kernel.ok("kept")).result).toBe("'kept'");
      }
    }));

  test("loops in code that is not from a cell: the interrupt kills the process, with a StateLost error", () =>
    withKernel(async (kernel) => {
      const ended = await stopped(kernel, `await null; new Function(${JSON.stringify("for (;;);")})()`);
      expect(ended.ename).toBe("StateLost");
      expect(ended.evalue).toContain("did not react to the interrupt");
      expect((await kernel.ok("6 * 7")).result).toBe("42");
    }));

  test("closes standard output: later cells can print", () =>
    withKernel(async (kernel) => {
      await kernel.ok('require("node:fs").closeSync(1); process.stdout.destroy(); undefined');
      expect((await kernel.ok('console.log("still here")')).stdout).toBe("still here\n");
    }));

  test("prints a hundred megabytes: all of it arrives, and requests get replies meanwhile", () =>
    withKernel(async (kernel) => {
      let arrived = 0;
      const cell = kernel.client.execute(
        'const line = "x".repeat(999) + "\\n"; for (let i = 0; i < 100_000; i++) process.stdout.write(line)',
        {
          onOutput({ header, content }) {
            if (header.msg_type === "stream") arrived += String(content.text).length;
          },
        },
      );
      await until(() => arrived > 0);
      const start = performance.now();
      await kernel.client.request("control", "kernel_info_request");
      const elapsed = performance.now() - start;
      expect((await cell).content.status).toBe("ok");
      expect(arrived).toBe(100_000_000);
      expect(elapsed).toBeLessThan(2000);
    }));
});

describe("a random sequence of cells", () => {
  /** A program of numbers, which declares every name once before it is used. */
  const program = fc.array(fc.tuple(fc.nat(11), fc.nat(99), fc.nat(1000), fc.nat(1000)), {
    minLength: 1,
    maxLength: 25,
  });

  function statements(choices: readonly (readonly [number, number, number, number])[]): {
    lines: string[];
    names: string[];
  } {
    const names: string[] = [];
    const writable: string[] = [];
    const functions: string[] = [];
    const lines = choices.map(([kind, constant, first, second], index) => {
      const pick = (from: readonly string[], at: number) => from[at % from.length];
      const a = pick(names, first) ?? String(constant);
      const b = pick(names, second) ?? "1";
      const w = pick(writable, first);
      const f = pick(functions, second);
      const declare = (name: string, mutable: boolean) => {
        names.push(name);
        if (mutable) writable.push(name);
        return name;
      };
      switch (kind) {
        case 0:
          return `const ${declare(`c${index}`, false)} = ${a} + ${constant};`;
        case 1:
          return `let ${declare(`l${index}`, true)} = (${a} * 3 + ${b}) % 1009;`;
        case 2:
          return `var ${declare(`v${index}`, true)} = ${a} - ${b};`;
        case 3:
          functions.push(`f${index}`);
          return `function f${index}(x) { let y = x + ${a}; for (let i = 0; i < 3; i++) y = (y * 2 + i) % 997; return y }`;
        case 4:
          return w ? `${w} = (${w} + ${b}) % 1009;` : `${constant};`;
        case 5:
          return w ? `for (let i = 0; i < ${constant % 7}; i++) { ${w} += i; if (i === 4) continue; }` : ";";
        case 6:
          return w ? `${w}++, ${w} %= 1009;` : "0;";
        case 7:
          return f ? `const ${declare(`r${index}`, false)} = ${f}(${a});` : "{ const inner = 1; }";
        case 8:
          return `const [${declare(`d${index}`, false)}, { e: ${declare(`e${index}`, false)} = 5 }] = [${a}, {}];`;
        case 9:
          return w ? `{ const before = ${w}; ${w} = [1, 2, 3].reduce((sum, n) => sum + n * before, 0) % 1009; }` : "{}";
        case 10:
          return `class K${index} { static s = ${a}; n = ${constant}; get() { return this.n + K${index}.s } } const ${declare(`k${index}`, false)} = new K${index}().get();`;
        default:
          return w ? `await null; ${w} = await Promise.resolve(${w} + 1);` : "await 0;";
      }
    });
    return { lines, names };
  }

  test("gives the same result as a script", async () => {
    const kernel = shared.current;
    await fc.assert(
      fc.asyncProperty(program, fc.array(fc.nat(24), { maxLength: 6 }), async (choices, cuts) => {
        const { lines, names } = statements(choices);
        const values = `JSON.stringify([${names.join(", ")}])`;
        const expected: unknown = await runInThisContext(`(async () => {\n${lines.join("\n")}\nreturn ${values}\n})()`);
        const edges = [...new Set([0, ...cuts.map((cut) => cut % lines.length), lines.length])].sort((x, y) => x - y);
        for (const [index, from] of edges.slice(0, -1).entries()) {
          await kernel.ok(`%check off\n${lines.slice(from, edges[index + 1]).join("\n")}`);
        }
        const { result } = await kernel.ok(`%check off\n${values}`);
        expect(result).toBe(`'${String(expected)}'`);
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});

// `npm run test:all` sends more.
const messages = process.env.ANNEAL_TEST_ALL === "1" ? 10_000 : 2000;
describe(`${messages} random messages`, () => {
  const types = [
    ..."execute complete inspect is_complete history comm_info kernel_info debug interrupt usage create_subshell"
      .split(" ")
      .map((name) => `${name}_request`),
    ...[
      "comm_open",
      "comm_msg",
      "comm_close",
      "input_reply",
      "list_subshell_request",
      "delete_subshell_request",
      "__proto__",
      "",
      "constructor",
    ],
  ];

  test("do not crash the kernel", async () => {
    const kernel = shared.current;
    await kernel.ok("const kept = 'kept'");
    const { client } = kernel;
    const stranger = new Dealer({ routingId: randomUUID(), linger: 0 });
    stranger.connect(address(client.connection, "shell"));
    const content = fc.dictionary(
      fc.constantFrom(
        "code",
        "cursor_pos",
        "comm_id",
        "target_name",
        "data",
        "hist_access_type",
        "n",
        "command",
        "arguments",
        "value",
        "pattern",
        "user_expressions",
        "silent",
        "subshell_id",
      ),
      fc.oneof(
        fc.jsonValue(),
        fc.constantFrom("1 +", "x.y", "`", "/* ", "%env A=", "?a", "tail", "stackTrace", "variables"),
      ),
    );
    const samples = fc.sample(fc.tuple(fc.constantFrom(...types), content, fc.nat(9)), messages);
    for (const [index, [type, content, way]] of samples.entries()) {
      // Random code must not run for long, nor end the process.
      const message = client.message(type, content as Record<string, unknown>);
      if (way < 7) client.send((["shell", "control", "stdin"] as const)[way % 3] ?? "shell", message);
      else {
        const parts = [message.header, {}, {}, content].map((part) => Buffer.from(JSON.stringify(part)));
        const cut = parts.map((part) => (way === 8 ? randomBytes(part.length % 40) : part));
        await stranger.send(way === 9 ? [randomBytes(index % 50)] : ["<IDS|MSG>", randomUUID(), ...cut]);
      }
      // So that only the kernel limits the speed.
      if (index % 500 === 499) await client.request("control", "kernel_info_request");
    }
    stranger.close();
    await until(async () => (await kernel.run("kept")).result === "'kept'", 30_000);
  }, 60_000);
});
