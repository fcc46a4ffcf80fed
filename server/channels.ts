import type { FastifyInstance } from "fastify";
import type { WebSocket } from "ws";
import type { Message } from "../kernel/host/wire.ts";
import type { KernelManager, Listener } from "./kernels.ts";
import { decodeFrame, encodeFrame, subprotocol } from "./wire.ts";

const channels = new Set(["shell", "control", "stdin"]);

/** Beyond this many unsent bytes a page that reads too slowly is let go, before its messages fill our memory. */
const highWater = 64 * 2 ** 20;

/** How often a page is asked whether it is there. */
const pingMs = 30_000;
/** How long a page whose connection broke may take to come back. */
const parkedMs = 5 * 60_000;
/** The code of a connection that ended without a word. */
const brokenOff = 1006;

/** The websocket over which a page talks to a kernel, and the one of events. */
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
      // Output goes to every page; an answer to the page that asked.
      const { session: asker } = message.parent_header as { session?: string };
      if (channel === "iopub" || !session || !asker || asker === session) send(channel, message);
    };
    // What was said while this page's connection was broken comes first.
    for (const [channel, message] of parked.take(kernel, session)) listener(channel, message);
    kernel.listeners.add(listener);
    keepAlive(socket);
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      const received = parse(data, isBinary);
      if (!received || !channels.has(received.channel)) {
        request.log.warn(`A frame to kernel ${id} was dropped: it is no Jupyter message.`);
        return;
      }
      kernel
        .send(received.channel as "shell", received.message)
        // The page is told of a kernel that is gone by its state.
        .catch((error: Error) => request.log.warn(`A frame to kernel ${id} was dropped: ${error.message}`));
    });
    socket.on("close", (code) => {
      kernel.listeners.delete(listener);
      // A page that leaves says so; a connection that breaks does not, and its page comes back.
      if (code === brokenOff && session) parked.park(kernel, session);
    });
  });

  // Nothing is sent here; JupyterLab only wants to be connected.
  app.get("/api/events/subscribe", { websocket: true }, (socket: WebSocket) => {
    socket.on("message", () => undefined);
  });
}

/** Proxies close what is silent, and a machine that went away says nothing: a page that does not answer is let go. */
function keepAlive(socket: WebSocket): void {
  let answered = true;
  const timer = setInterval(() => {
    if (!answered) {
      socket.terminate();
      return;
    }
    answered = false;
    socket.ping();
  }, pingMs);
  timer.unref();
  socket.on("pong", () => {
    answered = true;
  });
  socket.on("close", () => clearInterval(timer));
}

type Kernel = ReturnType<KernelManager["kernel"]>;
type ParkedMessage = Parameters<Listener>;

/** What kernels say to pages whose connection broke, until they are back. */
class Parked {
  readonly #bySession = new Map<string, { kernel: Kernel; stop: () => void; messages: ParkedMessage[] }>();

  park(kernel: Kernel, session: string): void {
    this.take(kernel, session);
    const messages: ParkedMessage[] = [];
    let size = 0;
    const listener: Listener = (channel, message) => {
      size += JSON.stringify(message.content).length;
      // A page that stays away does not fill our memory.
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

  /** What was kept for a page, which is then kept no longer. */
  take(kernel: Kernel, session: string | undefined): ParkedMessage[] {
    const found = session === undefined ? undefined : this.#bySession.get(session);
    if (!found || found.kernel !== kernel || session === undefined) return [];
    found.stop();
    this.#bySession.delete(session);
    return found.messages;
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
