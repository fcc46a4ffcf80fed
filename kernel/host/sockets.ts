/** The kernel's five sockets. */
import { Reply, Router, type Socket, XPublisher } from "zeromq";
import { address, type Channel, type Connection } from "./connection.ts";
import { type Message, type RoutedMessage, Wire, WireError } from "./wire.ts";

/** Sends one after the other: a ZeroMQ socket allows one `send` at a time. */
export class SendQueue {
  readonly #socket: { send(frames: Uint8Array[]): Promise<void> };
  #tail: Promise<void> = Promise.resolve();

  constructor(socket: { send(frames: Uint8Array[]): Promise<void> }) {
    this.#socket = socket;
  }

  /** Queues a message. A message that cannot be sent any more (the socket was closed) is dropped. */
  send(frames: Uint8Array[]): void {
    this.#tail = this.#tail.then(() => this.#socket.send(frames)).catch(() => {});
  }

  /** When all that was queued is with ZeroMQ. */
  get drained(): Promise<void> {
    return this.#tail;
  }
}

/** What the sockets tell the kernel. */
export interface SocketEvents {
  message(channel: "shell" | "control" | "stdin", message: RoutedMessage): void;
  /** A front-end listens to iopub from now on. */
  subscribed(topic: string): void;
  /** A message was dropped, and why. */
  dropped(channel: Channel, why: string): void;
}

/** Owns the sockets between their opening and their closing. */
export class Sockets {
  readonly #wire: Wire;
  readonly #routers: Record<"shell" | "control" | "stdin", Router>;
  readonly #iopub: XPublisher;
  readonly #heartbeat: Reply;
  readonly #queues: Record<Channel, SendQueue>;

  private constructor(wire: Wire) {
    this.#wire = wire;
    const unlimited = { sendHighWaterMark: 0, receiveHighWaterMark: 0, linger: 0 };
    this.#routers = { shell: new Router(unlimited), control: new Router(unlimited), stdin: new Router(unlimited) };
    this.#iopub = new XPublisher({ sendHighWaterMark: 0, linger: 0, verbosity: "allSubs" });
    this.#heartbeat = new Reply({ linger: 0 });
    this.#queues = {
      shell: new SendQueue(this.#routers.shell),
      control: new SendQueue(this.#routers.control),
      stdin: new SendQueue(this.#routers.stdin),
      iopub: new SendQueue(this.#iopub),
    };
  }

  /**
   * Opens all sockets and begins to listen.
   * @throws Error when an address cannot be had
   */
  static async open(connection: Connection, events: SocketEvents): Promise<Sockets> {
    const sockets = new Sockets(new Wire(connection.key, connection.signature_scheme));
    const routers = Object.entries(sockets.#routers) as ["shell" | "control" | "stdin", Router][];
    await Promise.all([
      ...routers.map(([channel, router]) => router.bind(address(connection, channel))),
      sockets.#iopub.bind(address(connection, "iopub")),
      sockets.#heartbeat.bind(address(connection, "hb")),
    ]);
    for (const [channel, router] of routers) void sockets.#receive(channel, router, events);
    void sockets.#subscriptions(events);
    void sockets.#beat();
    return sockets;
  }

  async #receive(channel: "shell" | "control" | "stdin", router: Router, events: SocketEvents): Promise<void> {
    for await (const frames of untilClosed(router)) {
      let message: RoutedMessage;
      try {
        message = this.#wire.decode(frames);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        events.dropped(channel, error.message);
        continue;
      }
      events.message(channel, message);
    }
  }

  async #subscriptions(events: SocketEvents): Promise<void> {
    for await (const [frame] of untilClosed(this.#iopub)) {
      if (frame?.[0] === 1) events.subscribed(frame.subarray(1).toString("utf8"));
    }
  }

  async #beat(): Promise<void> {
    for await (const frames of untilClosed(this.#heartbeat)) await this.#heartbeat.send(frames);
  }

  /** Sends a message to the one at `identities`, or to everyone on iopub, where the identity is a topic. */
  send(channel: Channel, identities: readonly Uint8Array[], message: Message): void {
    this.#queues[channel].send(this.#wire.encode(identities, message));
  }

  /** Sends what is queued and closes. */
  async close(): Promise<void> {
    await Promise.all(Object.values(this.#queues).map((queue) => queue.drained));
    const all: Socket[] = [...Object.values(this.#routers), this.#iopub, this.#heartbeat];
    for (const socket of all) {
      // What is on its way gets a moment; a front-end that is gone does not hold the exit.
      (socket as Router).linger = 300;
      socket.close();
    }
  }
}

/** What a socket receives, until it is closed. */
export async function* untilClosed(socket: {
  receive(): Promise<Buffer[]>;
  closed: boolean;
}): AsyncGenerator<Buffer[], void, void> {
  for (;;) {
    let frames: Buffer[];
    try {
      frames = await socket.receive();
    } catch (error) {
      if (socket.closed) return;
      throw error;
    }
    yield frames;
  }
}
