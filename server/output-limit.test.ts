import { expect, test } from "vitest";
import { type Message, newHeader } from "../kernel/host/wire.ts";
import { OutputLimit } from "./output-limit.ts";

const parent = newHeader("execute_request", "page");

function limited() {
  const out: Message[] = [];
  const limit = new OutputLimit((_, message) => out.push(message));
  const send = (msgType: string, content: Record<string, unknown>) =>
    limit.take("iopub", {
      header: newHeader(msgType, "kernel"),
      parent_header: parent,
      metadata: {},
      content,
      buffers: [],
    });
  const print = (text: string, name = "stdout") => send("stream", { name, text });
  const end = () => send("status", { execution_state: "idle" });
  const text = (name?: string) =>
    out
      .filter(({ content }) => content.text !== undefined && (name === undefined || content.name === name))
      .map(({ content }) => content.text)
      .join("");
  return { out, send, print, end, text };
}

test("what a cell prints within its allowance goes on as it is", () => {
  const { out, print, end } = limited();
  for (let i = 0; i < 50; i++) print(`${i}\n`);
  print("x".repeat(500_000));
  end();
  expect(out).toHaveLength(52);
});

test("of what goes beyond, the beginning and the end are shown, with the number of characters between", () => {
  const { print, end, text } = limited();
  const all = "0123456789abcde\u{1f600}".repeat(400_000);
  print(all);
  print("the end");
  end();
  const printed = text("stdout");
  const [, number] = /\[([\d,]+) characters omitted\.\]/.exec(text("stderr")) ?? [];
  expect(printed.length + Number(number?.replaceAll(",", ""))).toBe(all.length + "the end".length);
  expect(printed.length).toBeGreaterThan(900_000);
  expect(printed.startsWith(all.slice(0, 100))).toBe(true);
  expect(printed.endsWith("the end")).toBe(true);
  expect(Buffer.from(printed).toString()).toBe(printed);
});

test("a display that is updated without end shows its last state, and one that is cleared shows nothing before", () => {
  const { out, send, print, end, text } = limited();
  for (let i = 0; i <= 5000; i++)
    send("update_display_data", { data: { "text/plain": String(i) }, metadata: {}, transient: { display_id: "bar" } });
  print("gone");
  send("clear_output", { wait: true });
  print("stays");
  end();
  expect(out.length).toBeLessThan(3000);
  expect(out.findLast(({ header }) => header.msg_type === "update_display_data")?.content.data).toEqual({
    "text/plain": "5000",
  });
  expect(text("stdout")).toBe("stays");
  expect(out.at(-1)?.content.execution_state).toBe("idle");
});
