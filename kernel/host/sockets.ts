/** The kernel's five ZeroMQ sockets. */
import { Reply, Router, type Socket, XPublisher } from "zeromq";
import { address, type Channel, type Connection } from "./connection.ts";
import { type Message, type RoutedMessage, Wire, WireError } from "./wire.ts";

/** Queues messages, because a ZeroMQ socket allows one `send` at a time. */
export class SendQueue {
  readonly #socket: { send(frames: Uint8Array[]): Promise<void> };
  #tail: Promise<void> = Promise.resolve();

  constructor(socket: { send(frames: Uint8Array[]): Promise<void> }) {
    this.#socket = socket;
  }

  /** Queues a message. Messages are dropped once the socket is closed. */
  send(frames: Uint8Array[]): void {
    this.#tail = this.#tail.then(() => this.#socket.send(frames)).catch(() => {});
  }

  /** Resolves when all queued messages have been passed to ZeroMQ. */
  get drained(): Promise<void> {
    return this.#tail;
  }
}

/** Events of the sockets. */
export interface SocketEvents {
  message(channel: "shell" | "control" | "stdin", message: RoutedMessage): void;
  /** A front-end subscribed to iopub. */
  subscribed(topic: string): void;
  /** An invalid message was dropped. */
  dropped(channel: Channel, reason: string): void;
}

/** Binds, reads and closes the sockets. */
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
   * Binds all sockets and starts to receive.
   * @throws Error when an address cannot be bound
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

  /** Sends a message to the peer with `identities`. On iopub, broadcasts it with the topic in `identities`. */
  send(channel: Channel, identities: readonly Uint8Array[], message: Message): void {
    this.#queues[channel].send(this.#wire.encode(identities, message));
  }

  /** Sends the queued messages and closes the sockets. */
  async close(): Promise<void> {
    await Promise.all(Object.values(this.#queues).map((queue) => queue.drained));
    const all: Socket[] = [...Object.values(this.#routers), this.#iopub, this.#heartbeat];
    for (const socket of all) {
      // Unsent messages get 300 ms, so that a front-end that has disconnected does not delay the exit.
      (socket as Router).linger = 300;
      socket.close();
    }
  }
}

/** Iterates over received messages until the socket is closed. */
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
