import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { Dealer } from "zeromq";
import { alive, folderWith, sharedKernel, TestKernel, until } from "../cells.test.helper.ts";
import { address } from "./connection.ts";

const shared = sharedKernel();

describe("the protocol", () => {
  test("kernel_info_reply contains protocol, language and versions", async () => {
    const { content } = await shared.current.client.request("shell", "kernel_info_request");
    expect(content).toMatchObject({
      status: "ok",
      protocol_version: "5.4",
      implementation: "anneal",
      language_info: { name: "typescript", file_extension: ".ts", codemirror_mode: "typescript" },
    });
    expect(String((content.language_info as { version: string }).version)).toMatch(/^7\./);
  });

  test("requests get replies while a cell runs, and the kernel's status stays busy", async () => {
    const { client } = shared.current;
    const states: unknown[] = [];
    let started = false;
    const forget = client.onMessage((_channel, { header, content }) => {
      if (header.msg_type === "status") states.push(content.execution_state);
      if (header.msg_type === "stream") started = true;
    });
    const cell = shared.current.run('console.log("under way"); while (true) {}');
    await until(() => started);
    await client.request("control", "kernel_info_request");
    const { content } = await client.request("shell", "complete_request", { code: "Mat", cursor_pos: 3 });
    expect(content.matches).toEqual(["Math"]);
    await until(() => states.at(-1) === "busy");
    await client.interrupt();
    await cell;
    await until(() => states.at(-1) === "idle");
    forget();
  });

  test("is_complete, comm_info and history get replies", async () => {
    const { client } = shared.current;
    const complete = await client.request("shell", "is_complete_request", { code: "if (x) {" });
    expect(complete.content).toEqual({ status: "incomplete", indent: "  " });
    expect((await client.request("shell", "comm_info_request")).content).toEqual({ status: "ok", comms: {} });
    await shared.current.ok("'in the history'");
    const tail = await client.request("shell", "history_request", { hist_access_type: "tail", n: 1, output: false });
    expect(tail.content.history).toEqual([[1, expect.any(Number), "'in the history'"]]);
  });

  test("a comm with an unknown target is closed at once", async () => {
    const { client } = shared.current;
    const closed: unknown[] = [];
    const forget = client.onMessage((_channel, { header, content }) => {
      if (header.msg_type === "comm_close") closed.push(content.comm_id);
    });
    client.send("shell", client.message("comm_open", { comm_id: "c1", target_name: "nobody", data: {} }));
    await until(() => closed.length > 0);
    forget();
    expect(closed).toEqual(["c1"]);
  });

  test("?name shows documentation in the pager", async () => {
    const { reply } = await shared.current.ok("?process.version");
    expect(reply.content.payload).toMatchObject([
      { source: "page", data: { "text/plain": expect.stringContaining("string") } },
    ]);
  });

  test("exit sends ask_exit, unless a cell declares the name", async () => {
    const kernel = await TestKernel.start();
    expect((await kernel.ok("exit")).reply.content.payload).toEqual([{ source: "ask_exit", keepkernel: false }]);
    await kernel.ok("const exit = 5");
    expect((await kernel.ok("exit")).result).toBe("5");
    await kernel.close();
  });

  test("malformed or forged messages are dropped and logged", async () => {
    const { client, log } = shared.current;
    const stranger = new Dealer({ routingId: randomUUID(), linger: 0 });
    stranger.connect(address(client.connection, "shell"));
    await stranger.send(["not a message"]);
    const forged = client.message("execute_request", { code: "process.exit()" });
    const parts = [forged.header, {}, {}, forged.content].map((part) => JSON.stringify(part));
    await stranger.send(["<IDS|MSG>", "0".repeat(64), ...parts]);
    await stranger.send(["<IDS|MSG>", "", "{", "]", "", ""]);
    await until(() => log.filter((line) => line.includes("dropped a message on shell")).length === 3);
    stranger.close();
    expect((await shared.current.ok("1 + 1")).result).toBe("2");
  });
});

describe("input", () => {
  test("prompt and confirm block until the reply, Notebook.input returns a promise", async () => {
    const requests: unknown[] = [];
    const answers = ["Ada", "y", "secret"];
    const { result } = await shared.current.ok(
      `%check off
       const nb = globalThis[Symbol.for("anneal.notebook")];
       [prompt("Your name?"), confirm("Sure?"), await nb.input("Key:", { password: true })]`,
      {
        onInput(prompt, password) {
          requests.push([prompt, password]);
          return answers[requests.length - 1] ?? "";
        },
      },
    );
    expect(requests).toEqual([
      ["Your name? ", false],
      ["Sure? [y/N] ", false],
      ["Key:", true],
    ]);
    expect(result).toBe("[ 'Ada', true, 'secret' ]");
  });

  test("fails with an error if the front-end does not support it", async () => {
    const { evalue } = await shared.current.run('prompt("?")', { allowStdin: false });
    expect(evalue).toContain("does not support input");
  });
});

describe("lifecycle", () => {
  test("the history persists after the kernel exits", async () => {
    const data = folderWith({});
    const first = await TestKernel.start({}, data);
    await first.ok("const remembered = 1");
    await first.close();
    const second = await TestKernel.start({}, data);
    const { content } = await second.client.request("shell", "history_request", {
      hist_access_type: "search",
      pattern: "*remembered*",
    });
    expect(content.history).toEqual([[1, 1, "const remembered = 1"]]);
    await second.close();
  });

  test("when the kernel is killed, its child exits, even if it is busy", async () => {
    const kernel = await TestKernel.start();
    const child = Number((await kernel.ok("process.pid")).result);
    const busy = kernel.run("while (true) {}").catch((error: Error) => error.message);
    process.kill(kernel.client.pid ?? 0, "SIGKILL");
    expect(await busy).toBe("the kernel exited (signal SIGKILL)");
    await until(() => !alive(child));
    await kernel.close();
  });

  test("shutdown sends a reply, broadcasts it, and exits with code 0", async () => {
    const kernel = await TestKernel.start();
    const replies: unknown[] = [];
    kernel.client.onMessage((channel, { header, content }) => {
      if (header.msg_type === "shutdown_reply") replies.push([channel, content.restart]);
    });
    await kernel.client.shutdown(true);
    expect(await kernel.client.exited).toBe("exit code 0");
    expect(replies).toContainEqual(["control", true]);
    expect(replies).toContainEqual(["iopub", true]);
  });

  test("a kernel without a connection file exits with a one-line error", async () => {
    const main = fileURLToPath(new URL("../bundle/host/main.js", import.meta.url));
    for (const [args, line] of [
      [[], "usage: node main.js <connection file>"],
      [["/nonexistent.json"], "cannot read the connection file /nonexistent.json: ENOENT"],
    ] as const) {
      const child = spawn(process.execPath, [main, ...args]);
      let text = "";
      child.stderr.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      const code = await new Promise((resolve) => child.once("close", resolve));
      expect(code).toBe(1);
      expect(text).toContain(line);
      expect(text.trimEnd().split("\n")).toHaveLength(1);
    }
  });
});
