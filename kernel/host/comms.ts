/** Comms, as the host has them: it carries messages between front-ends and the child, and knows which are open. */
import type { CommPost, FromChild, ToChild } from "./protocol.ts";
import type { Header, Message } from "./wire.ts";

/** Sends a message to every front-end, with what it carries beside its content. */
export type PublishWith = (
  msgType: string,
  content: Record<string, unknown>,
  parent: Message["parent_header"],
  more?: { metadata?: Record<string, unknown>; buffers?: Uint8Array[] },
) => void;

export class CommRelay {
  readonly #publish: PublishWith;
  readonly #tellChild: (message: ToChild) => void;
  readonly #targets = new Map<string, string>();
  readonly #waiting = new Map<number, () => void>();
  #serial = 0;

  constructor(publish: PublishWith, tellChild: (message: ToChild) => void) {
    this.#publish = publish;
    this.#tellChild = tellChild;
  }

  /** Comms that are open, as comm_info_reply lists them. */
  list(target: unknown): Record<string, { target_name: string }> {
    const wanted = [...this.#targets].filter(([, name]) => typeof target !== "string" || target === name);
    return Object.fromEntries(wanted.map(([id, target_name]) => [id, { target_name }]));
  }

  /** Hands a front-end's message to the child. Settles when the child has dealt with it, as `idle` is to tell. */
  forward(kind: CommPost["kind"], { content, metadata, buffers }: Message): Promise<void> {
    const id = String(content.comm_id ?? "");
    const target = String(content.target_name ?? "");
    const data = (typeof content.data === "object" && content.data !== null ? content.data : {}) as CommPost["data"];
    if (kind === "open") this.#targets.set(id, target);
    else if (kind === "close") this.#targets.delete(id);
    const serial = ++this.#serial;
    this.#tellChild({ type: "comm", kind, id, target, data, metadata, buffers, serial });
    return new Promise((resolve) => this.#waiting.set(serial, resolve));
  }

  /** Takes what the child sends; false when it is of another kind. */
  take(message: FromChild, parentOf: (cell: number) => Header | undefined): boolean {
    if (message.type === "commDone") {
      this.#waiting.get(message.serial)?.();
      this.#waiting.delete(message.serial);
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

  /** The child is gone, and with it its ends of all comms. */
  lost(): void {
    for (const id of this.#targets.keys()) this.#publish("comm_close", { comm_id: id, data: {} }, {});
    this.#targets.clear();
    for (const resolve of this.#waiting.values()) resolve();
    this.#waiting.clear();
  }
}
