/** Publishes the outputs of cells: finds the parent message of each and batches stream output. */
import type { MimeBundle } from "../../src/display/notebook.ts";
import type { FromChild, ShownError } from "./protocol.ts";
import type { Header, Message } from "./wire.ts";

/** Broadcasts a message on iopub. */
export type Publish = (msgType: string, content: Record<string, unknown>, parent: Message["parent_header"]) => void;

type StreamName = "stdout" | "stderr";

const batchMs = 8;
const batchLength = 65_536;
/** How many cells are kept, so that their late output (from timers and promises) gets the right parent. */
const maxParents = 2000;

/** Publishes outputs with the header of the request that they belong to. */
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

  /** Registers the parent header of a new cell's outputs. */
  begin(cell: number, parent: Header): void {
    this.#parents.set(cell, parent);
    this.#latest = parent;
    const oldest = this.#parents.keys().next();
    if (this.#parents.size > maxParents && oldest.value !== undefined) this.#parents.delete(oldest.value);
  }

  /** The parent header of a cell's outputs. For an unknown cell, that of the latest one. */
  parentOf(cell: number | undefined): Header | undefined {
    return (cell === undefined ? undefined : this.#parents.get(cell)) ?? this.#latest;
  }

  /** Publishes text that a cell printed. Without a cell, it belongs to the latest one. */
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

  /** Publishes the buffered text. Every other output flushes it first. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#length === 0) return;
    const text = this.#chunks.join("");
    this.#chunks = [];
    this.#length = 0;
    this.#publish("stream", { name: this.#name, text }, this.#parent ?? {});
  }

  /** Flushes the buffered text and publishes a message. */
  publish(msgType: string, content: Record<string, unknown>, parent: Message["parent_header"]): void {
    this.flush();
    this.#publish(msgType, content, parent);
  }

  /** Publishes an error. */
  error(error: ShownError, parent: Header | undefined): void {
    this.publish("error", { ename: error.ename, evalue: error.evalue, traceback: error.traceback }, parent ?? {});
  }

  /** Publishes a suggestion of the kernel, such as to install a package. */
  suggest(data: MimeBundle, parent: Header): void {
    this.publish("display_data", { data, metadata: {}, transient: {} }, parent);
  }

  /** Publishes an output message of the child. @returns false if the message is not an output */
  handle(message: FromChild, executionCount: (cell: number) => number): boolean {
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
