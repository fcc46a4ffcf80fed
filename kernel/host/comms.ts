/** The host's side of comms: relays messages between front-ends and the child, and tracks which comms are open. */
import type { CommPost, FromChild, ToChild } from "./protocol.ts";
import type { Header, Message } from "./wire.ts";

/** Broadcasts a message on iopub, optionally with metadata and buffers. */
export type PublishWith = (
  msgType: string,
  content: Record<string, unknown>,
  parent: Message["parent_header"],
  more?: { metadata?: Record<string, unknown>; buffers?: Uint8Array[] },
) => void;

export class CommRelay {
  readonly #publish: PublishWith;
  readonly #sendToChild: (message: ToChild) => void;
  readonly #targets = new Map<string, string>();
  readonly #pending = new Map<number, () => void>();
  #serial = 0;

  constructor(publish: PublishWith, sendToChild: (message: ToChild) => void) {
    this.#publish = publish;
    this.#sendToChild = sendToChild;
  }

  /** The open comms, in the format of comm_info_reply. */
  list(target: unknown): Record<string, { target_name: string }> {
    const matching = [...this.#targets].filter(([, name]) => typeof target !== "string" || target === name);
    return Object.fromEntries(matching.map(([id, target_name]) => [id, { target_name }]));
  }

  /** Forwards a front-end's message to the child. Resolves when the child has handled it; then `idle` is sent. */
  forward(kind: CommPost["kind"], { content, metadata, buffers }: Message): Promise<void> {
    const id = String(content.comm_id ?? "");
    const target = String(content.target_name ?? "");
    const data = (typeof content.data === "object" && content.data !== null ? content.data : {}) as CommPost["data"];
    if (kind === "open") this.#targets.set(id, target);
    else if (kind === "close") this.#targets.delete(id);
    const serial = ++this.#serial;
    this.#sendToChild({ type: "comm", kind, id, target, data, metadata, buffers, serial });
    return new Promise((resolve) => this.#pending.set(serial, resolve));
  }

  /** Handles a comm message of the child. @returns false if the message is of another type */
  handle(message: FromChild, parentOf: (cell: number) => Header | undefined): boolean {
    if (message.type === "commDone") {
      this.#pending.get(message.serial)?.();
      this.#pending.delete(message.serial);
      return true;
    }
    if (message.type !== "comm") return false;
    const { kind, cell, id, target, data, metadata, buffers } = message;
    if (kind === "open") this.#targets.set(id, target);
    else if (kind === "close") this.#targets.delete(id);
    const content = { comm_id: id, data, ...(kind === "open" ? { target_name: target } : {}) };
    this.#publish(`comm_${kind}`, content, parentOf(cell) ?? {}, { metadata, buffers });
    return true;
  }

  /** Closes all comms after the child has exited. */
  lost(): void {
    for (const id of this.#targets.keys()) this.#publish("comm_close", { comm_id: id, data: {} }, {});
    this.#targets.clear();
    for (const resolve of this.#pending.values()) resolve();
    this.#pending.clear();
  }
}
