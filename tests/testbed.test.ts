/**
 * The 27 checks of kernel-testbed (https://github.com/runtimed/kernel-testbed) in four tiers, over ZeroMQ, against the
 * kernel of an installed kernelspec, with cells of a Deno notebook.
 */
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Request, Subscriber } from "zeromq";
import { type ExecuteOptions, KernelClient } from "../kernel/client.ts";
import { address } from "../kernel/host/connection.ts";
import { type Message, Wire } from "../kernel/host/wire.ts";
import { installKernelSpec, type KernelSpec } from "../kernel/spec.ts";
import { cleanUp, scratch, until } from "./support.ts";

let kernel: KernelClient;
const received: Message[] = [];

beforeAll(async () => {
  const folder = scratch("testbed");
  mkdirSync(folder);
  const spec = JSON.parse(readFileSync(join(installKernelSpec(folder), "kernel.json"), "utf8")) as KernelSpec;
  const [program = "", ...args] = spec.argv;
  kernel = await KernelClient.start({ cwd: folder, data: join(folder, "data"), command: [program, ...args] });
  kernel.onMessage((_channel, message) => received.push(message));
});

afterAll(async () => {
  await kernel?.shutdown();
  await cleanUp();
});

/** Executes a cell. @returns its reply and its iopub messages */
async function execute(code: string, options: ExecuteOptions = {}): Promise<{ reply: Message; iopub: Message[] }> {
  const iopub: Message[] = [];
  const reply = await kernel.execute(code, { ...options, onOutput: (message) => iopub.push(message) });
  return { reply, iopub };
}

const typesOf = (messages: readonly Message[]) => messages.map(({ header }) => header.msg_type);
const ofType = (messages: readonly Message[], type: string) =>
  messages.filter(({ header }) => header.msg_type === type).map(({ content }) => content);

describe("tier 1, the basic protocol", () => {
  test("1. the heartbeat is echoed", async () => {
    const socket = new Request({ receiveTimeout: 5000, linger: 0 });
    socket.connect(address(kernel.connection, "hb"));
    await socket.send("beat");
    expect(String(await socket.receive())).toBe("beat");
    socket.close();
  });

  test("2. a new iopub subscriber receives iopub_welcome", async () => {
    const socket = new Subscriber({ receiveTimeout: 5000, linger: 0 });
    socket.subscribe();
    socket.connect(address(kernel.connection, "iopub"));
    const { key, signature_scheme } = kernel.connection;
    const { message } = new Wire(key, signature_scheme).decode(await socket.receive());
    expect(message).toMatchObject({ header: { msg_type: "iopub_welcome" }, content: { subscription: "" } });
    socket.close();
  });

  test("3 to 5. kernel_info_reply contains language and protocol version", async () => {
    const { header, content } = await kernel.request("shell", "kernel_info_request");
    expect(header.msg_type).toBe("kernel_info_reply");
    expect(content.status).toBe("ok");
    expect(content.language_info).toMatchObject({ name: "typescript" });
    expect(content.protocol_version).toMatch(/^5\.\d+$/);
  });

  test("6 and 7. stdout and stderr are separate streams", async () => {
    const { iopub } = await execute('console.log("printed"); console.error("warned")');
    expect(ofType(iopub, "stream")).toEqual([
      { name: "stdout", text: "printed\n" },
      { name: "stderr", text: "warned\n" },
    ]);
  });

  test("8 to 10. execute_input is between busy and idle, and the reply is ok", async () => {
    const { reply, iopub } = await execute("const one = 1");
    expect(reply).toMatchObject({ header: { msg_type: "execute_reply" }, content: { status: "ok" } });
    expect(typesOf(iopub)).toEqual(["status", "execute_input", "status"]);
    expect(iopub.map(({ content }) => content.execution_state ?? content.code)).toEqual([
      "busy",
      "const one = 1",
      "idle",
    ]);
  });
});

describe("tier 2, interactive features", () => {
  test("11 and 12. a name of a cell is completed and inspected", async () => {
    await execute("const longVariableName = 42");
    const completed = await kernel.request("shell", "complete_request", { code: "longVar", cursor_pos: 7 });
    expect(completed.content).toMatchObject({ status: "ok", matches: ["longVariableName"], cursor_start: 0 });
    const inspection = { code: "longVariableName", cursor_pos: 16, detail_level: 0 };
    const { content } = await kernel.request("shell", "inspect_request", inspection);
    expect(content).toMatchObject({ status: "ok", found: true });
    expect((content.data as Record<string, string>)["text/plain"]).toContain("const longVariableName: 42");
  });

  test("13 and 14. is_complete detects complete and incomplete cells", async () => {
    const ask = async (code: string) => (await kernel.request("shell", "is_complete_request", { code })).content;
    expect(await ask("const two = 2")).toEqual({ status: "complete" });
    expect(await ask("const three = {")).toMatchObject({ status: "incomplete", indent: "  " });
  });

  test("15. the history contains executed cells", async () => {
    await execute("const four = 4");
    const options = { hist_access_type: "tail", n: 1, output: false, raw: true };
    const { content } = await kernel.request("shell", "history_request", options);
    expect(content).toMatchObject({ status: "ok", history: [[1, expect.any(Number), "const four = 4"]] });
  });

  test("16. open comms are listed", async () => {
    expect((await kernel.request("shell", "comm_info_request")).content).toEqual({ status: "ok", comms: {} });
  });

  test("17. a syntax error is in the reply and on iopub", async () => {
    const { reply, iopub } = await execute("class class");
    expect(reply.content).toMatchObject({ status: "error", ename: "SyntaxError" });
    expect(ofType(iopub, "error")).toMatchObject([{ ename: "SyntaxError", traceback: expect.any(Array) }]);
  });
});

describe("tier 3, rich output", () => {
  test("18. display_data, broadcast by the cell", async () => {
    const { iopub } = await execute(
      'await Deno.jupyter.broadcast("display_data", { data: { "text/html": "<i>seen</i>" }, metadata: {}, transient: {} })',
    );
    expect(ofType(iopub, "display_data")).toMatchObject([{ data: { "text/html": "<i>seen</i>" } }]);
  });

  test("19. a display is updated by its id", async () => {
    const { iopub } = await execute(`
      const shown = (text: string) =>
        ({ data: { "text/html": text }, metadata: {}, transient: { display_id: "panel" } });
      await Deno.jupyter.broadcast("display_data", shown("first"));
      await Deno.jupyter.broadcast("update_display_data", shown("second"));
      await Deno.jupyter.display({ "text/plain": "third" }, { raw: true, update: true, display_id: "panel" });`);
    const transient = { display_id: "panel" };
    expect(ofType(iopub, "display_data")).toMatchObject([{ data: { "text/html": "first" }, transient }]);
    expect(ofType(iopub, "update_display_data")).toMatchObject([
      { data: { "text/html": "second" }, transient },
      { data: { "text/plain": "third" }, transient },
    ]);
  });

  test("20. the value of an expression is the result", async () => {
    const { reply, iopub } = await execute("20 + 22");
    expect(ofType(iopub, "execute_result")).toMatchObject([
      { execution_count: reply.content.execution_count, data: { "text/plain": expect.stringContaining("42") } },
    ]);
  });

  test.each([
    ['[{ letter: "a", count: 8 }, { letter: "b", count: 1 }]', "text/html"],
    ["Deno.jupyter.html`<b>bold</b>`", "text/html"],
    ["Deno.jupyter.md`# Title`", "text/markdown"],
    ['Deno.jupyter.svg`<svg xmlns="http://www.w3.org/2000/svg"/>`', "image/svg+xml"],
    ["Deno.jupyter.image(new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]))", "image/png"],
    ['({ [Symbol.for("Jupyter.display")]: () => ({ "application/json": { a: 1 } }) })', "application/json"],
    ['({ [Deno.jupyter.$display]: () => ({ "text/latex": "$x$" }) })', "text/latex"],
  ])("21. the result %s is rich", async (code, type) => {
    const { iopub } = await execute(code);
    const [result] = ofType(iopub, "execute_result");
    expect(Object.keys(result?.data ?? {})).toContain(type);
  });
});

describe("tier 4, advanced features", () => {
  test("22. a cell receives the input that it requests", async () => {
    const prompts: string[] = [];
    const { reply, iopub } = await execute('prompt("Name: ")', {
      onInput(question) {
        prompts.push(question);
        return '"typed"';
      },
    });
    expect(prompts).toEqual(["Name: "]);
    expect(reply.content.status).toBe("ok");
    expect(JSON.stringify(ofType(iopub, "execute_result"))).toContain("typed");
  });

  test("23. a comm is opened, used and closed; one with an unknown target is closed at once", async () => {
    const comm_id = randomUUID();
    kernel.send("shell", kernel.message("comm_open", { comm_id, target_name: "nobody.listens", data: {} }));
    await until("the comm is closed", 10, () =>
      ofType(received, "comm_close").find((each) => each.comm_id === comm_id),
    );
    const content = (data: object) => JSON.stringify({ comm_id, data, target_name: "cell" });
    const { iopub } = await execute(`
      await Deno.jupyter.broadcast("comm_open", ${content({})});
      await Deno.jupyter.broadcast("comm_msg", ${content({ step: 1 })});
      await Deno.jupyter.broadcast("comm_close", ${content({})});`);
    expect(typesOf(iopub).filter((type) => type.startsWith("comm"))).toEqual(["comm_open", "comm_msg", "comm_close"]);
    expect((await execute("1")).reply.content.status).toBe("ok");
  });

  test("24. an interrupt gets a reply and stops the running cell", async () => {
    expect((await kernel.request("control", "interrupt_request")).content).toEqual({ status: "ok" });
    const running = kernel.execute('console.log("under way"); await new Promise(() => {})', {
      onOutput: ({ header }) => header.msg_type === "stream" && void kernel.interrupt(),
    });
    expect((await running).content).toMatchObject({ status: "error", ename: "Interrupted" });
  });

  test("25. the execution count increases with every cell", async () => {
    const counts = [await execute("5"), await execute("6")].map(({ reply }) => Number(reply.content.execution_count));
    expect(counts[1]).toBe((counts[0] ?? 0) + 1);
  });

  test("26. all messages of a cell have its request as parent", async () => {
    received.length = 0;
    const { reply } = await execute('console.log("whose?"); 7');
    expect(received).toHaveLength(6);
    for (const { parent_header } of received)
      expect(parent_header).toMatchObject({ msg_id: reply.parent_header.msg_id });
  });

  test("27. a shutdown gets a reply, and the kernel exits", async () => {
    const { content } = await kernel.request("control", "shutdown_request", { restart: false });
    expect(content).toEqual({ status: "ok", restart: false });
    expect(await kernel.exited).toBe("exit code 0");
  });
});
