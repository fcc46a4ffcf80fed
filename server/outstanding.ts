import type { Channel } from "../kernel/host/connection.ts";
import { type Message, newHeader } from "../kernel/host/wire.ts";

interface Cell {
  request: Message;
  executionCount: number | null;
  replied: boolean;
  idle: boolean;
}

/** The cells that pages sent to a kernel and that have not ended: when its process ends, they are ended from here. */
export class OutstandingCells {
  readonly #cells = new Map<string, Cell>();
  readonly #publish: (channel: Channel, message: Message) => void;
  /** Front-ends drop messages of an earlier session once they see another, so ours are in the kernel's. */
  #session: string;

  constructor(session: string, publish: (channel: Channel, message: Message) => void) {
    this.#session = session;
    this.#publish = publish;
  }

  sent(channel: Channel, message: Message): void {
    if (channel !== "shell" || message.header.msg_type !== "execute_request") return;
    this.#cells.set(message.header.msg_id, { request: message, executionCount: null, replied: false, idle: false });
  }

  heard(channel: Channel, { header, parent_header, content }: Message): void {
    this.#session = header.session;
    const id = parent_header.msg_id;
    const cell = id === undefined ? undefined : this.#cells.get(id);
    if (!cell || id === undefined) return;
    if (header.msg_type === "execute_input") cell.executionCount = Number(content.execution_count);
    else if (header.msg_type === "execute_reply") cell.replied = true;
    else if (channel === "iopub" && content.execution_state === "idle") cell.idle = true;
    // The two come by different sockets, in any order.
    if (cell.replied && cell.idle) this.#cells.delete(id);
  }

  /** The kernel's process is gone: the cell that ran shows the error, if there is one; those behind it are aborted. */
  end(error?: { ename: string; evalue: string; traceback: string[] }): void {
    let unsaid = error;
    for (const { request, executionCount, replied, idle } of this.#cells.values()) {
      if (!replied) {
        if (unsaid) this.say("iopub", "error", unsaid, request);
        const counted = executionCount === null ? {} : { execution_count: executionCount };
        this.say("shell", "execute_reply", { status: unsaid ? "error" : "aborted", ...unsaid, ...counted }, request);
        unsaid = undefined;
      }
      if (!idle) this.say("iopub", "status", { execution_state: "idle" }, request);
    }
    this.#cells.clear();
  }

  /** Tells the pages something in the kernel's name. */
  say(channel: Channel, msgType: string, content: Record<string, unknown>, parent?: Message): void {
    const header = newHeader(msgType, this.#session, "studio");
    this.#publish(channel, { header, parent_header: parent?.header ?? {}, metadata: {}, content, buffers: [] });
  }
}
