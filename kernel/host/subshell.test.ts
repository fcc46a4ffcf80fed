import { expect, test } from "vitest";
import { sharedKernel, until } from "../cells.test.helper.ts";
import type { Message } from "./wire.ts";

const shared = sharedKernel();

async function control(type: string, content: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
  return (await shared.current.client.request("control", type, content)).content;
}

/** Runs a cell in a subshell and returns its reply. */
function runIn(subshell: string, code: string): Promise<Message> {
  const { client } = shared.current;
  const message = client.message("execute_request", { code, silent: false, store_history: false, allow_stdin: false });
  message.header.subshell_id = subshell;
  return new Promise((resolve) => {
    const forget = client.onMessage((channel, reply) => {
      if (channel !== "shell" || reply.parent_header.msg_id !== message.header.msg_id) return;
      forget();
      resolve(reply);
    });
    client.send("shell", message);
  });
}

test("cells of a subshell run while a cell of the main shell awaits, and share variables", async () => {
  const kernel = shared.current;
  const info = await control("kernel_info_request");
  expect(info.supported_features).toContain("kernel subshells");
  const { subshell_id } = (await control("create_subshell_request")) as { subshell_id: string };
  expect(await control("list_subshell_request")).toEqual({ status: "ok", subshell_id: [subshell_id] });
  let over = false;
  const waiting = kernel.ok(
    "let release = () => {}; await new Promise<void>((done) => { release = done }); 'released'",
  );
  void waiting.then(() => {
    over = true;
  });
  await until(async () => (await runIn(subshell_id, "%check off\nrelease.name")).content.status === "ok");
  expect(over).toBe(false);
  expect((await runIn(subshell_id, "%check off\nthrow new Error('aside')")).content).toMatchObject({ evalue: "aside" });
  expect(over).toBe(false);
  expect((await runIn(subshell_id, "%check off\nrelease()")).content.status).toBe("ok");
  expect((await waiting).result).toBe("'released'");
  expect(await control("delete_subshell_request", { subshell_id })).toEqual({ status: "ok" });
  expect(await control("list_subshell_request")).toEqual({ status: "ok", subshell_id: [] });
  expect((await runIn(subshell_id, "1")).content).toMatchObject({ status: "error" });
  expect(await control("delete_subshell_request", { subshell_id })).toMatchObject({ status: "error" });
});

test("an interrupt stops the cells of all shells", async () => {
  const kernel = shared.current;
  const { subshell_id } = (await control("create_subshell_request")) as { subshell_id: string };
  const started = new Set<unknown>();
  const forget = kernel.client.onMessage((_channel, { header, parent_header }) => {
    if (header.msg_type === "stream") started.add(parent_header.msg_id);
  });
  const main = kernel.run('console.log("on"); await new Promise(() => {})');
  const aside = runIn(subshell_id, 'console.log("on"); await new Promise(() => {})');
  await until(() => started.size === 2);
  forget();
  await kernel.client.interrupt();
  expect((await main).ename).toBe("Interrupted");
  expect((await aside).content.ename).toBe("Interrupted");
  expect((await kernel.ok("1 + 1")).result).toBe("2");
});

test("usage_reply contains memory and CPU usage of the kernel and the machine", async () => {
  await shared.current.ok(
    "const held = new Uint8Array(50_000_000).fill(1); let spun = 0; for (let i = 0; i < 3e8; i++) spun += i; undefined",
  );
  const usage = await control("usage_request");
  expect(usage.kernel_memory).toBeGreaterThan(90_000_000);
  expect(usage.kernel_cpu).toBeGreaterThanOrEqual(0);
  expect(usage.cpu_count).toBeGreaterThan(0);
  const memory = usage.host_virtual_memory as Record<string, number>;
  expect(memory.total).toBeGreaterThan(memory.available ?? 0);
  expect(usage).toMatchObject({ hostname: expect.any(String), host_cpu_percent: expect.any(Number) });
});

test("history_reply contains outputs if requested", async () => {
  await shared.current.ok("const six = 6");
  await shared.current.ok("six * 7");
  const { content } = await shared.current.client.request("shell", "history_request", {
    hist_access_type: "tail",
    n: 2,
    output: true,
  });
  expect((content.history as unknown[][]).map(([, , both]) => both)).toEqual([
    ["const six = 6", null],
    ["six * 7", "42"],
  ]);
});
