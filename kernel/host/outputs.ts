/** What cells show, on its way to the front-end: under the right cell, and many prints in one message. */
import type { MimeBundle } from "../../src/display/notebook.ts";
import type { FromChild, ShownError } from "./protocol.ts";
import type { Header, Message } from "./wire.ts";

/** Sends one message to every front-end. */
export type Publish = (msgType: string, content: Record<string, unknown>, parent: Message["parent_header"]) => void;

type StreamName = "stdout" | "stderr";

const batchMs = 8;
const batchLength = 65_536;
/** Cells whose late output (from timers and promises) still finds its place. */
const remembered = 2000;

/** Routes outputs to the cells they belong to. */
export class Outputs {
  readonly #publish: Publish;
  readonly #parents = new Map<number, Header>();
  #latest: Header | undefined;
  #chunks: string[] = [];
  #length = 0;
  #name: StreamName = "stdout";
  #parent: Header | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(publish: Publish) {
    this.#publish = publish;
  }

  /** A cell begins: what it shows goes to the request with that header. */
  begin(cell: number, parent: Header): void {
    this.#parents.set(cell, parent);
    this.#latest = parent;
    const oldest = this.#parents.keys().next();
    if (this.#parents.size > remembered && oldest.value !== undefined) this.#parents.delete(oldest.value);
  }

  /** The request that a cell came with; of the latest cell, where it is not known. */
  parentOf(cell: number | undefined): Header | undefined {
    return (cell === undefined ? undefined : this.#parents.get(cell)) ?? this.#latest;
  }

  /** Text that a cell printed; of the latest cell, where it is not known whose it is. */
  stream(name: StreamName, text: string, cell?: number): void {
    if (text === "") return;
    const parent = this.parentOf(cell);
    if (name !== this.#name || parent !== this.#parent) this.flush();
    this.#name = name;
    this.#parent = parent;
    this.#chunks.push(text);
    this.#length += text.length;
    if (this.#length >= batchLength) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), batchMs);
  }

  /** Sends the text that is held back. Everything else that is published flushes first. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#length === 0) return;
    const text = this.#chunks.join("");
    this.#chunks = [];
    this.#length = 0;
    this.#publish("stream", { name: this.#name, text }, this.#parent ?? {});
  }

  /** Publishes after the text that came before. */
  publish(msgType: string, content: Record<string, unknown>, parent: Message["parent_header"]): void {
    this.flush();
    this.#publish(msgType, content, parent);
  }

  /** Shows an error under the cell of a request. */
  error(error: ShownError, parent: Header | undefined): void {
    this.publish("error", { ename: error.ename, evalue: error.evalue, traceback: error.traceback }, parent ?? {});
  }

  /** Shows something that the kernel itself proposes. */
  offer(data: MimeBundle, parent: Header): void {
    this.publish("display_data", { data, metadata: {}, transient: {} }, parent);
  }

  /** Takes what a child shows; false when the message is of another kind. */
  take(message: FromChild, executionCount: (cell: number) => number): boolean {
    switch (message.type) {
      case "stream":
        this.stream(message.name, message.text, message.cell);
        return true;
      case "display":
        this.publish(
          message.update ? "update_display_data" : "display_data",
          {
            data: message.data,
            metadata: message.metadata,
            transient: message.displayId === undefined ? {} : { display_id: message.displayId },
          },
          this.parentOf(message.cell) ?? {},
        );
        return true;
      case "result":
        this.publish(
          "execute_result",
          { execution_count: executionCount(message.cell), data: message.data, metadata: message.metadata },
          this.parentOf(message.cell) ?? {},
        );
        return true;
      case "clear":
        this.publish("clear_output", { wait: message.wait }, this.parentOf(message.cell) ?? {});
        return true;
      case "error":
        this.error(message.error, this.parentOf(message.cell));
        return true;
      default:
        return false;
    }
  }
}
