import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { sharedKernel, TestKernel, until } from "../cells.test.helper.ts";
import type { Message } from "./wire.ts";

const shared = sharedKernel();

/** Collects the kernel's comm messages on iopub. */
function listen(kernel: TestKernel) {
  const received: Message[] = [];
  const stopListening = kernel.client.onMessage((channel, message) => {
    if (channel === "iopub" && message.header.msg_type.startsWith("comm_")) received.push(message);
  });
  return { received, stopListening };
}

/** A front-end for comms. */
function send(kernel: TestKernel, type: string, content: Record<string, unknown>, buffers: Uint8Array[] = []): Message {
  const message = { ...kernel.client.message(type, content), buffers };
  kernel.client.send("shell", message);
  return message;
}

const notebook = 'import { notebook } from "anneal"; const { comms } = notebook()!;';

describe("comms", () => {
  test("opened by a cell send JSON and buffers in both directions until they are closed", async () => {
    const kernel = shared.current;
    const { received, stopListening } = listen(kernel);
    const { reply } = await kernel.ok(`${notebook}
      const comm = comms.open("my.target", { hello: 1 }, { metadata: { version: "2" }, buffers: [new Uint8Array([1, 2])] });
      comm.onMessage(({ data, buffers }) => {
        console.log("received", data.n, [...buffers[0]]);
        comm.send({ twice: Number(data.n) * 2 }, { buffers: [new Uint8Array([9])] });
      });
      comm.onClose(({ data }) => console.log("closed", data, comm.closed));`);
    const [opened] = received;
    expect(opened?.content).toMatchObject({ target_name: "my.target", data: { hello: 1 } });
    expect(opened?.metadata).toEqual({ version: "2" });
    expect([...(opened?.buffers[0] ?? [])]).toEqual([1, 2]);
    expect(opened?.parent_header.msg_id).toBe(reply.parent_header.msg_id);
    const comm_id = opened?.content.comm_id;
    const info = await kernel.client.request("shell", "comm_info_request", { target_name: "my.target" });
    expect(info.content.comms).toEqual({ [String(comm_id)]: { target_name: "my.target" } });

    // A listener's output belongs to the cell that added it.
    const printed: unknown[] = [];
    const stop = kernel.client.onMessage((_channel, { header, parent_header, content }) => {
      if (header.msg_type === "stream") printed.push([parent_header.msg_id, content.text]);
    });
    send(kernel, "comm_msg", { comm_id, data: { n: 21 } }, [new Uint8Array([7])]);
    await until(() => received.length > 1 && printed.length > 0);
    expect(received[1]?.content).toEqual({ comm_id, data: { twice: 42 } });
    expect([...(received[1]?.buffers[0] ?? [])]).toEqual([9]);
    expect(printed).toEqual([[reply.parent_header.msg_id, "received 21 [ 7 ]\n"]]);
    send(kernel, "comm_close", { comm_id, data: { why: "gone" } });
    await until(() => printed.length > 1);
    expect(printed[1]).toEqual([reply.parent_header.msg_id, "closed { why: 'gone' } true\n"]);
    expect((await kernel.client.request("shell", "comm_info_request")).content.comms).toEqual({});
    stop();
    stopListening();
  });

  test("opened by the front-end get replies, even while a cell is awaiting", async () => {
    const kernel = shared.current;
    await kernel.ok(`${notebook} comms.onOpen("echo", (comm, { data }) => comm.send({ back: data.n })); undefined`);
    const { received, stopListening } = listen(kernel);
    const waiting = kernel.ok("await new Promise((done) => setTimeout(done, 300))");
    const comm_id = randomUUID();
    send(kernel, "comm_open", { comm_id, target_name: "echo", data: { n: 5 } });
    let over = false;
    void waiting.then(() => {
      over = true;
    });
    await until(() => received.length > 0);
    expect(over).toBe(false);
    expect(received[0]?.content).toEqual({ comm_id, data: { back: 5 } });
    await waiting;
    stopListening();
  });

  test("idle is sent after a message was handled; an error in a listener belongs to its cell", async () => {
    const kernel = shared.current;
    const { reply } = await kernel.ok(
      `${notebook} comms.onOpen("bad", () => { throw new Error("in a listener") }); undefined`,
    );
    const states: unknown[] = [];
    const errors: unknown[] = [];
    const stopListening = kernel.client.onMessage((_channel, { header, parent_header, content }) => {
      if (header.msg_type === "error") errors.push([parent_header.msg_id, content.evalue]);
      if (header.msg_type === "status") states.push([parent_header.msg_id, content.execution_state]);
    });
    const { header } = send(kernel, "comm_open", { comm_id: "c9", target_name: "bad", data: {} });
    await until(() => states.some((each) => String(each) === `${header.msg_id},idle`));
    expect(errors).toEqual([[reply.parent_header.msg_id, "in a listener"]]);
    stopListening();
  });

  test("are closed, with comm_close messages, when the child process exits", async () => {
    const kernel = await TestKernel.start();
    try {
      const { received, stopListening } = listen(kernel);
      await kernel.ok(`${notebook} comms.open("my.target"); undefined`);
      await kernel.run("process.exit(1)");
      await until(() => received.length === 2);
      expect(received[1]?.header.msg_type).toBe("comm_close");
      expect(received[1]?.content.comm_id).toBe(received[0]?.content.comm_id);
      stopListening();
    } finally {
      await kernel.close();
    }
  });
});

describe("widgets", () => {
  test("a slider displays, receives changes from the page, and sends changes from code", async () => {
    const kernel = shared.current;
    const { received, stopListening } = listen(kernel);
    const { messages } = await kernel.ok(`
      import { IntSlider } from "anneal/widgets";
      const slider = new IntSlider({ value: 3, min: 1, max: 12, description: "layers" });
      const seen: number[] = [];
      slider.observe((now, before) => seen.push(before, now));
      slider`);
    const data = messages.find(({ header }) => header.msg_type === "execute_result")?.content.data as Record<
      string,
      unknown
    >;
    const opened = received.filter(({ header }) => header.msg_type === "comm_open");
    const model = opened.find(({ content }) => /IntSliderModel/.test(JSON.stringify(content.data)));
    const comm_id = String(model?.content.comm_id);
    expect(data["application/vnd.jupyter.widget-view+json"]).toEqual({
      version_major: 2,
      version_minor: 0,
      model_id: comm_id,
    });
    expect(data["text/plain"]).toBe("IntSlider(value=3)");
    expect(model?.content.target_name).toBe("jupyter.widget");
    expect(model?.metadata).toEqual({ version: "2.1.0" });
    const { state } = (model?.content.data ?? {}) as { state: Record<string, unknown> };
    expect(state).toMatchObject({
      _model_module: "@jupyter-widgets/controls",
      _view_name: "IntSliderView",
      value: 3,
      min: 1,
      max: 12,
      step: 1,
      description: "layers",
    });
    // The models that it references were opened before it.
    const names = opened.map(({ content }) => `IPY_MODEL_${content.comm_id}`);
    expect(names.indexOf(String(state.layout))).toBeLessThan(opened.indexOf(model as Message));
    expect(names).toContain(state.style);

    send(kernel, "comm_msg", { comm_id, data: { method: "update", state: { value: 7 }, buffer_paths: [] } });
    expect((await kernel.ok("[slider.value, ...seen]")).result).toBe("[ 7, 3, 7 ]");
    received.length = 0;
    await kernel.ok("slider.value = 9; undefined");
    expect(received[0]?.content).toEqual({
      comm_id,
      data: { method: "update", state: { value: 9 }, buffer_paths: [] },
    });
    expect((await kernel.run("new IntSlider({ value: 500 })")).evalue).toContain("from min 0 to max 100");
    stopListening();
  });

  test("sliders and progress bars have default ranges and reject values outside", async () => {
    const kernel = shared.current;
    const { received, stopListening } = listen(kernel);
    await kernel.ok(`
      import { FloatSlider, HTML, IntProgress, VBox } from "anneal/widgets";
      const box = new VBox([new FloatSlider({ value: 0.5 }), new IntProgress({ style: "success" }), new HTML({ value: "<b>x</b>" })]);`);
    const states = received
      .filter(({ header }) => header.msg_type === "comm_open")
      .map(({ content }) => (content.data as { state: Record<string, unknown> }).state);
    const of = (name: string) => states.find(({ _model_name }) => _model_name === name);
    expect(of("FloatSliderModel")).toMatchObject({ value: 0.5, min: 0, max: 1 });
    expect(of("IntProgressModel")).toMatchObject({ value: 0, min: 0, max: 100, bar_style: "success" });
    expect(of("HTMLModel")).toMatchObject({ value: "<b>x</b>" });
    expect(of("VBoxModel")?.children).toHaveLength(3);
    expect((await kernel.run("new FloatSlider({ value: 2 })")).evalue).toContain("from min 0 to max 1");
    stopListening();
  });

  test("a reloaded page gets the state of all widgets", async () => {
    const kernel = shared.current;
    await kernel.ok(
      'import { FloatProgress } from "anneal/widgets"; const bar = new FloatProgress({ value: 0.25 }); bar',
    );
    const { received, stopListening } = listen(kernel);
    send(kernel, "comm_open", { comm_id: "control", target_name: "jupyter.widget.control", data: {} });
    send(kernel, "comm_msg", { comm_id: "control", data: { method: "request_states" } });
    await until(() => received.length > 0);
    const { method, states } = (received[0]?.content.data ?? {}) as {
      method: string;
      states: Record<string, { state: object }>;
    };
    expect(method).toBe("update_states");
    expect(Object.values(states)).toContainEqual(
      expect.objectContaining({ model_name: "FloatProgressModel", state: expect.objectContaining({ value: 0.25 }) }),
    );
    stopListening();
  });

  test("buttons, selections and boxes", async () => {
    const kernel = shared.current;
    const { received, stopListening } = listen(kernel);
    await kernel.ok(`
      import { Button, Checkbox, Dropdown, HBox, Text } from "anneal/widgets";
      let clicks = 0;
      const button = new Button({ description: "go" });
      button.onClick(() => clicks++);
      const choice = new Dropdown({ options: ["a", "b"], value: "a" });
      new HBox([button, choice, new Checkbox({ value: true }), new Text({ value: "t" })])`);
    const idOf = (model: string) =>
      received.find(({ content }) => JSON.stringify(content.data).includes(`"${model}"`))?.content.comm_id;
    send(kernel, "comm_msg", { comm_id: idOf("ButtonModel"), data: { method: "custom", content: { event: "click" } } });
    send(kernel, "comm_msg", { comm_id: idOf("DropdownModel"), data: { method: "update", state: { index: 1 } } });
    expect((await kernel.ok("[clicks, choice.value]")).result).toBe("[ 1, 'b' ]");
    expect(received.find(({ content }) => JSON.stringify(content).includes("HBoxModel"))?.content.data).toMatchObject({
      state: {
        children: [
          `IPY_MODEL_${idOf("ButtonModel")}`,
          `IPY_MODEL_${idOf("DropdownModel")}`,
          expect.anything(),
          expect.anything(),
        ],
      },
    });
    stopListening();
  });
});
