/** The child's side of comms. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Comm, CommMessage, Comms } from "../../src/display/notebook.ts";
import type { CommPost } from "../host/protocol.ts";
import { currentCellId, newId } from "./cells.ts";
import { send } from "./pipes.ts";
import { flushStreams } from "./streams.ts";

type Listener<T extends unknown[]> = (...values: T) => void;

/** Listeners, each bound to the cell that added it: their output belongs to that cell. */
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
  // Serialized here, so that data that is not JSON throws in the user's code.
  const plain = JSON.parse(JSON.stringify(data)) as Record<string, unknown>;
  send({ type: "comm", kind, cell: currentCellId(), id, target, data: plain, metadata, buffers });
}

/** The comm API for cells. */
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

/** Handles a comm message of the front-end. @throws what a listener throws */
export function receiveComm({ kind, id, target, data, metadata, buffers }: CommPost): void {
  const message = { data, metadata, buffers };
  if (kind === "open") {
    const listener = targets.get(target);
    // The protocol requires that a comm with an unknown target is closed at once.
    if (!listener) post("close", { id, target }, {});
    else listener(new Channel(id, target), message);
    return;
  }
  const comm = open.get(id);
  if (kind === "msg") comm?.messages.call(message);
  else if (comm) {
    open.delete(id);
    comm.closes.call(message);
  }
}
