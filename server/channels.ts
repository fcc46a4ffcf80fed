import type { FastifyInstance } from "fastify";
import type { WebSocket } from "ws";
import type { Message } from "../kernel/wire.ts";
import type { KernelManager, Listener } from "./kernels.ts";
import { decodeFrame, encodeFrame, subprotocol } from "./wire.ts";

const channels = new Set(["shell", "control", "stdin"]);

/** Beyond this many unsent bytes a page that reads too slowly is let go, before its messages fill our memory. */
const highWater = 64 * 2 ** 20;

/** The websocket over which a page talks to a kernel, and the one of events. */
export function channelRoutes(app: FastifyInstance, manager: KernelManager): void {
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
    const listener: Listener = (channel, message) => {
      // Output goes to every page; an answer to the page that asked.
      const { session: asker } = message.parent_header as { session?: string };
      if (channel !== "iopub" && session && asker && asker !== session) return;
      if (socket.readyState !== socket.OPEN) return;
      if (socket.bufferedAmount > highWater) {
        socket.close(1013, "This page reads too slowly.");
        return;
      }
      socket.send(framed ? encodeFrame(channel, message) : JSON.stringify({ ...message, channel, buffers: [] }));
    };
    kernel.listeners.add(listener);
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      const received = parse(data, isBinary);
      if (!received || !channels.has(received.channel)) {
        request.log.warn(`A frame to kernel ${id} was dropped: it is no Jupyter message.`);
        return;
      }
      kernel.client
        .then((client) => client.send(received.channel as "shell", received.message))
        // The page is told of a kernel that is gone by its state.
        .catch((error: Error) => request.log.warn(`A frame to kernel ${id} was dropped: ${error.message}`));
    });
    socket.on("close", () => kernel.listeners.delete(listener));
  });

  // Nothing is sent here; JupyterLab only wants to be connected.
  app.get("/api/events/subscribe", { websocket: true }, (socket: WebSocket) => {
    socket.on("message", () => undefined);
  });
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
