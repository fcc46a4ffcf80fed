import { expect, test } from "vitest";
import { type CellOutcome, sharedKernel } from "../cells.test.helper.ts";

const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const shared = sharedKernel({
  "worker.mjs":
    'import { parentPort } from "node:worker_threads"; display.html("<b>from a module</b>"); parentPort?.postMessage("done");',
});

function outputsOf({ messages }: CellOutcome, type = "display_data") {
  return messages.filter(({ header }) => header.msg_type === type).map(({ content }) => content);
}

test("Deno.jupyter displays and formats values, and broadcasts messages", async () => {
  const kernel = shared.current;
  const html =
    "const { html, md, svg, image, display: show, format, broadcast, $display } = Deno.jupyter; " +
    `html\`<b>\${1 + 1}</b>\``;
  const md = `md\`# \${"title"}\``;
  const svg = "svg`<svg></svg>`";
  const image = `image(Buffer.from("${png}", "base64"))`;
  for (const [code, type, data] of [
    [html, "text/html", "<b>2</b>"],
    [md, "text/markdown", "# title"],
    [svg, "image/svg+xml", "<svg></svg>"],
    [image, "image/png", png],
  ] as const) {
    expect(outputsOf(await kernel.ok(code), "execute_result")[0]?.data).toMatchObject({ [type]: data });
  }
  const outcome = await kernel.ok(`await show({ "text/plain": "raw" }, { raw: true, display_id: "one" });
    await show({ [$display]: () => ({ "text/plain": "own" }) }, { update: true, display_id: "one" });
    await broadcast("display_data", { data: { "text/plain": "sent" }, metadata: {}, transient: { display_id: "two" } });
    (await format([1]))["text/plain"]`);
  expect(outputsOf(outcome)).toMatchObject([
    { data: { "text/plain": "raw" }, transient: { display_id: "one" } },
    { data: { "text/plain": "sent" }, transient: { display_id: "two" } },
  ]);
  expect(outputsOf(outcome, "update_display_data")).toMatchObject([{ data: { "text/plain": "own" } }]);
  expect((await kernel.run('await broadcast("status", {})')).evalue).toContain('cannot send "status"');
});

test("the rest of Deno is not defined, and libraries do not detect Deno", async () => {
  const kernel = shared.current;
  expect((await kernel.run("Deno.readTextFile")).evalue).toContain("readTextFile");
  expect((await kernel.ok('["Deno" in globalThis, Object.keys(Deno)]')).result).toBe("[ false, [ 'jupyter' ] ]");
});

test.each([
  ["started from a file", 'new Worker("./worker.mjs")', "<b>from a module</b>"],
  [
    "started from a string",
    'new Worker(\'display.html("<i>text</i>"); require("node:worker_threads").parentPort.postMessage(1)\', { eval: true })',
    "<i>text</i>",
  ],
])("worker threads can use display: %s", async (_what, worker, html) => {
  const outcome = await shared.current.ok(`import { Worker } from "node:worker_threads";
    const worker = ${worker}; await new Promise((done, fail) => { worker.once("error", fail); worker.once("exit", done) });`);
  expect(outputsOf(outcome)).toMatchObject([{ data: { "text/html": html } }]);
});
