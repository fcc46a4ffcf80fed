import { Worker } from "node:worker_threads";
import type { Shape } from "../tensor/index.ts";
import type { Int8Values } from "./int8.ts";
import type { Nf4Values } from "./nf4.ts";

/** Request to a quantization thread. */
export interface QuantizeRequest {
  kind: "int8" | "nf4";
  data: Float32Array | Uint16Array;
  shape: Shape;
}
export type QuantizeReply = { value: Int8Values | Nf4Values } | { error: string };

/** Quantizes matrices on worker threads. */
export interface Quantizer {
  /** Like quantizeInt8. The data's buffer is transferred and empty afterwards. */
  int8(data: Float32Array | Uint16Array, shape: Shape): Promise<Int8Values>;
  /** Like quantizeNf4. The data's buffer is transferred and empty afterwards. */
  nf4(data: Float32Array | Uint16Array, shape: Shape): Promise<Nf4Values>;
  /** Stops the threads. Pending requests are rejected. */
  close(): Promise<void>;
}

interface PendingRequest {
  resolve: (value: Int8Values | Nf4Values) => void;
  reject: (error: Error) => void;
}

/**
 * Starts threads that quantize matrices in turn.
 *
 * @example
 * const quantizer = openQuantizer();
 * const parts = await Promise.all(weights.map(({ data, shape }) => quantizer.nf4(data, shape)));
 * await quantizer.close();
 */
export function openQuantizer(threads = 2): Quantizer {
  const pool = Array.from({ length: threads }, () => startThread());
  let next = 0;
  const send = (request: QuantizeRequest) => pool[next++ % threads].send(request);
  return {
    int8: (data, shape) => send({ kind: "int8", data, shape }) as Promise<Int8Values>,
    nf4: (data, shape) => send({ kind: "nf4", data, shape }) as Promise<Nf4Values>,
    close: async () => {
      await Promise.all(pool.map((thread) => thread.close()));
    },
  };
}

function startThread() {
  const worker = new Worker(new URL("./worker.js", import.meta.url));
  worker.unref();
  const pending: PendingRequest[] = [];
  const fail = (error: Error) => {
    for (const { reject } of pending.splice(0)) reject(error);
  };
  // Replies arrive in the order of the requests.
  worker.on("message", (reply: QuantizeReply) => {
    const first = pending.shift();
    if (pending.length === 0) worker.unref();
    if ("error" in reply) first?.reject(new Error(reply.error));
    else first?.resolve(reply.value);
  });
  worker.on("error", fail);
  worker.on("exit", () => fail(new Error("The quantizer is closed.")));
  return {
    send: (request: QuantizeRequest) =>
      new Promise<Int8Values | Nf4Values>((resolve, reject) => {
        pending.push({ resolve, reject });
        worker.ref();
        worker.postMessage(request, [request.data.buffer as ArrayBuffer]);
      }),
    close: () => worker.terminate(),
  };
}
