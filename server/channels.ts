import type { FastifyInstance } from "fastify";
import type { WebSocket } from "ws";
import type { Message } from "../kernel/host/wire.ts";
import type { KernelManager, Listener } from "./kernels.ts";
import { decodeFrame, encodeFrame, subprotocol } from "./wire.ts";

const channels = new Set(["shell", "control", "stdin"]);

/** Maximum unsent bytes of a page; a page that reads too slowly is disconnected, which limits our memory. */
const highWater = 64 * 2 ** 20;

/** Interval of pings, in milliseconds. */
const pingMs = 30_000;
/** Time for a page to reconnect after its connection broke, in milliseconds. */
const parkedMs = 5 * 60_000;
/** Close code of a connection that ended without a close frame. */
const brokenOff = 1006;

/** Websocket routes of kernel channels and of events. */
export function channelRoutes(app: FastifyInstance, manager: KernelManager): void {
  const parked = new Parked();
  app.get("/api/kernels/:id/channels", { websocket: true }, (socket, request) => {
    const { id } = request.params as { id: string };
    const session = (request.query as { session_id?: string }).session_id;
    const framed = socket.protocol === subprotocol;
    let kernel: ReturnType<KernelManager["kernel"]>;
    try {
      kernel = manager.kernel(id);
    } catch (error) {
      socket.close(4404, (error as Error).message.slice(0, 120)); // A close frame holds 123 bytes.
      return;
    }
    const send: Listener = (channel, message) => {
      if (socket.readyState !== socket.OPEN) return;
      if (socket.bufferedAmount > highWater) {
        socket.close(1013, "This page reads too slowly.");
        return;
      }
      socket.send(framed ? encodeFrame(channel, message) : JSON.stringify({ ...message, channel, buffers: [] }));
    };
    const listener: Listener = (channel, message) => {
      // Output goes to all pages, a reply only to the page that sent the request.
      const { session: requester } = message.parent_header as { session?: string };
      if (channel === "iopub" || !session || !requester || requester === session) send(channel, message);
    };
    // First, the messages that were buffered while this page was disconnected.
    for (const [channel, message] of parked.take(kernel, session)) listener(channel, message);
    kernel.listeners.add(listener);
    keepAlive(socket);
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      const received = parse(data, isBinary);
      if (!received || !channels.has(received.channel)) {
        request.log.warn(`A frame to kernel ${id} was dropped: it is not a Jupyter message.`);
        return;
      }
      kernel
        .send(received.channel as "shell", received.message)
        // The page learns from the kernel's state that it is gone.
        .catch((error: Error) => request.log.warn(`A frame to kernel ${id} was dropped: ${error.message}`));
    });
    socket.on("close", (code) => {
      kernel.listeners.delete(listener);
      // A page that leaves sends a close code; after a broken connection it reconnects.
      if (code === brokenOff && session) parked.park(kernel, session);
    });
  });

  // No events are sent; JupyterLab only needs the connection.
  app.get("/api/events/subscribe", { websocket: true }, (socket: WebSocket) => {
    socket.on("message", () => undefined);
  });
}

/** Pings a page regularly, because proxies close idle connections; disconnects it when it does not respond. */
function keepAlive(socket: WebSocket): void {
  let responded = true;
  const timer = setInterval(() => {
    if (!responded) {
      socket.terminate();
      return;
    }
    responded = false;
    socket.ping();
  }, pingMs);
  timer.unref();
  socket.on("pong", () => {
    responded = true;
  });
  socket.on("close", () => clearInterval(timer));
}

type Kernel = ReturnType<KernelManager["kernel"]>;
type ParkedMessage = Parameters<Listener>;

/** Buffers messages for pages whose connection broke, until they reconnect. */
class Parked {
  readonly #bySession = new Map<string, { kernel: Kernel; stop: () => void; messages: ParkedMessage[] }>();

  park(kernel: Kernel, session: string): void {
    this.take(kernel, session);
    const messages: ParkedMessage[] = [];
    let size = 0;
    const listener: Listener = (channel, message) => {
      size += JSON.stringify(message.content).length;
      // Limits the memory for a page that does not return.
      if (size > highWater) this.take(kernel, session);
      else messages.push([channel, message]);
    };
    kernel.parked.add(listener);
    const timer = setTimeout(() => this.take(kernel, session), parkedMs);
    timer.unref();
    const stop = () => {
      clearTimeout(timer);
      kernel.parked.delete(listener);
    };
    this.#bySession.set(session, { kernel, stop, messages });
  }

  /** Returns the buffered messages of a page, and stops buffering. */
  take(kernel: Kernel, session: string | undefined): ParkedMessage[] {
    const entry = session === undefined ? undefined : this.#bySession.get(session);
    if (!entry || entry.kernel !== kernel || session === undefined) return [];
    entry.stop();
    this.#bySession.delete(session);
    return entry.messages;
  }
}

function parse(data: Buffer, isBinary: boolean): { channel: string; message: Message } | undefined {
  try {
    const { channel, message } = isBinary ? decodeFrame(data) : parseText(data);
    const parts: unknown[] = [message.header, message.parent_header, message.metadata, message.content];
    return parts.every((part) => typeof part === "object" && part !== null) ? { channel, message } : undefined;
  } catch {
    return undefined;
  }
}

function parseText(data: Buffer): { channel: string; message: Message } {
  const { channel, header, parent_header, metadata, content } = JSON.parse(data.toString("utf8"));
  return {
    channel,
    message: { header, parent_header: parent_header ?? {}, metadata: metadata ?? {}, content, buffers: [] },
  };
}
