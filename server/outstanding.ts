import type { Channel } from "../kernel/host/connection.ts";
import { type Message, newHeader } from "../kernel/host/wire.ts";

interface Cell {
  request: Message;
  executionCount: number | null;
  replied: boolean;
  idle: boolean;
}

/** Cells that were sent to a kernel and have not finished; they are ended here if the kernel's process ends. */
export class OutstandingCells {
  readonly #cells = new Map<string, Cell>();
  readonly #publish: (channel: Channel, message: Message) => void;
  /** The kernel's session, used for our messages: front-ends drop messages of an earlier session. */
  #session: string;

  constructor(session: string, publish: (channel: Channel, message: Message) => void) {
    this.#session = session;
    this.#publish = publish;
  }

  sent(channel: Channel, message: Message): void {
    if (channel !== "shell" || message.header.msg_type !== "execute_request") return;
    this.#cells.set(message.header.msg_id, { request: message, executionCount: null, replied: false, idle: false });
  }

  received(channel: Channel, { header, parent_header, content }: Message): void {
    this.#session = header.session;
    const id = parent_header.msg_id;
    const cell = id === undefined ? undefined : this.#cells.get(id);
    if (!cell || id === undefined) return;
    if (header.msg_type === "execute_input") cell.executionCount = Number(content.execution_count);
    else if (header.msg_type === "execute_reply") cell.replied = true;
    else if (channel === "iopub" && content.execution_state === "idle") cell.idle = true;
    // Reply and idle status arrive on different sockets, in any order.
    if (cell.replied && cell.idle) this.#cells.delete(id);
  }

  /** Ends all cells after the process has ended: the running cell gets the error, if any; the others are aborted. */
  end(error?: { ename: string; evalue: string; traceback: string[] }): void {
    let pendingError = error;
    for (const { request, executionCount, replied, idle } of this.#cells.values()) {
      if (!replied) {
        if (pendingError) this.send("iopub", "error", pendingError, request);
        const counted = executionCount === null ? {} : { execution_count: executionCount };
        this.send(
          "shell",
          "execute_reply",
          { status: pendingError ? "error" : "aborted", ...pendingError, ...counted },
          request,
        );
        pendingError = undefined;
      }
      if (!idle) this.send("iopub", "status", { execution_state: "idle" }, request);
    }
    this.#cells.clear();
  }

  /** Sends a message to the pages on behalf of the kernel. */
  send(channel: Channel, msgType: string, content: Record<string, unknown>, parent?: Message): void {
    const header = newHeader(msgType, this.#session, "studio");
    this.#publish(channel, { header, parent_header: parent?.header ?? {}, metadata: {}, content, buffers: [] });
  }
}
