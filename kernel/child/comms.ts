/** Comms, as the code of cells has them. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Comm, CommMessage, Comms } from "../../src/display/notebook.ts";
import type { CommPost } from "../host/protocol.ts";
import { currentCellId, newId } from "./cells.ts";
import { tell } from "./pipes.ts";
import { flushStreams } from "./streams.ts";

type Listener<T extends unknown[]> = (...values: T) => void;

/** Listeners keep the cell that added them: what they print is that cell's. */
class Listeners<T extends unknown[]> {
  readonly #all = new Set<Listener<T>>();

  add(listener: Listener<T>): () => void {
    const bound = AsyncLocalStorage.bind(listener);
    this.#all.add(bound);
    return () => this.#all.delete(bound);
  }

  call(...values: T): void {
    for (const listener of [...this.#all]) listener(...values);
  }
}

const open = new Map<string, Channel>();
const targets = new Map<string, Listener<[Comm, CommMessage]>>();

class Channel implements Comm {
  readonly id: string;
  readonly target: string;
  readonly messages = new Listeners<[CommMessage]>();
  readonly closes = new Listeners<[CommMessage]>();

  constructor(id: string, target: string) {
    this.id = id;
    this.target = target;
    open.set(id, this);
  }

  get closed(): boolean {
    return open.get(this.id) !== this;
  }

  send(data: Record<string, unknown>, more: Partial<Omit<CommMessage, "data">> = {}): void {
    if (this.closed) throw new Error(`comm ${this.id} is closed`);
    post("msg", this, data, more);
  }

  close(data: Record<string, unknown> = {}): void {
    if (this.closed) return;
    open.delete(this.id);
    post("close", this, data);
  }

  onMessage(listener: (message: CommMessage) => void): () => void {
    return this.messages.add(listener);
  }

  onClose(listener: (message: CommMessage) => void): () => void {
    return this.closes.add(listener);
  }
}

function post(
  kind: CommPost["kind"],
  { id, target }: Pick<Comm, "id" | "target">,
  data: Record<string, unknown>,
  { metadata = {}, buffers = [] }: Partial<Omit<CommMessage, "data">> = {},
): void {
  flushStreams();
  // As JSON carries it: what it cannot carry fails here, where the user's code is.
  const plain = JSON.parse(JSON.stringify(data)) as Record<string, unknown>;
  tell({ type: "comm", kind, cell: currentCellId(), id, target, data: plain, metadata, buffers });
}

/** What cells open and answer. */
export const comms: Comms = {
  open(target, data = {}, more = {}) {
    const comm = new Channel(more.id ?? newId(), target);
    post("open", comm, data, more);
    return comm;
  },
  onOpen(target, listener) {
    const bound = AsyncLocalStorage.bind(listener);
    targets.set(target, bound);
    return () => targets.get(target) === bound && targets.delete(target);
  },
};

/** Takes what the front-end sent. What a listener throws is thrown. */
export function receiveComm({ kind, id, target, data, metadata, buffers }: CommPost): void {
  const message = { data, metadata, buffers };
  if (kind === "open") {
    const answer = targets.get(target);
    // The protocol has the side that does not know a target close the comm at once.
    if (!answer) post("close", { id, target }, {});
    else answer(new Channel(id, target), message);
    return;
  }
  const comm = open.get(id);
  if (kind === "msg") comm?.messages.call(message);
  else if (comm) {
    open.delete(id);
    comm.closes.call(message);
  }
}
