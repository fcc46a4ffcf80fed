import { expect, test } from "vitest";
import { sharedKernel } from "../cells.test.helper.ts";

const shared = sharedKernel();

test.each([
  [
    "readline/promises",
    `import { createInterface } from "node:readline/promises";
     const rl = createInterface({ input: process.stdin, output: process.stdout });
     const answers = [await rl.question("Name? "), await rl.question("Age? ")]; rl.close(); answers`,
    "[ 'line 1', 'line 2' ]",
    2,
  ],
  [
    "readline with a callback",
    `import * as readline from "node:readline";
     const old = readline.createInterface({ input: process.stdin, output: process.stdout });
     const answer = await new Promise((done) => old.question("Name? ", done)); old.close(); answer`,
    "'line 1'",
    1,
  ],
  [
    "for await",
    "let lines = ''; for await (const line of process.stdin) { lines += line; if (lines.includes('3')) break }\nlines",
    "'line 1\\nline 2\\nline 3\\n'",
    3,
  ],
])("process.stdin requests input from the front-end: %s", async (_what, code, expected, requestCount) => {
  let requests = 0;
  const { result } = await shared.current.ok(code, { onInput: async () => `line ${++requests}` });
  expect([result, requests]).toEqual([expected, requestCount]);
  await shared.current.ok("await new Promise((done) => setTimeout(done, 30))");
  expect(requests).toBe(requestCount);
});

test("without front-end support for input, reads fail with an error", async () => {
  const kernel = shared.current;
  const code = "for await (const line of process.stdin) console.log(line)";
  expect((await kernel.run(code, { allowStdin: false })).evalue).toContain("does not support input");
  expect((await kernel.run('require("node:fs").readFileSync(0)')).evalue).toContain("use prompt");
  expect((await kernel.run('import { readFileSync } from "node:fs"; readFileSync(0, "utf8")')).evalue).toContain(
    "prompt",
  );
});
