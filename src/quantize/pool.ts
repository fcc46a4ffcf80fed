import { Worker } from "node:worker_threads";
import type { Shape } from "../tensor/index.ts";
import type { Int8Values } from "./int8.ts";
import type { Nf4Values } from "./nf4.ts";

/** What the threads are asked and answer. */
export interface QuantizeRequest {
  kind: "int8" | "nf4";
  data: Float32Array | Uint16Array;
  shape: Shape;
}
export type QuantizeReply = { value: Int8Values | Nf4Values } | { error: string };

/** Quantises matrices on threads of its own. */
export interface Quantizer {
  /** As quantizeInt8. The data's buffer is given away: it is empty afterwards. */
  int8(data: Float32Array | Uint16Array, shape: Shape): Promise<Int8Values>;
  /** As quantizeNf4. The data's buffer is given away: it is empty afterwards. */
  nf4(data: Float32Array | Uint16Array, shape: Shape): Promise<Nf4Values>;
  /** End the threads. What is under way is rejected. */
  close(): Promise<void>;
}

interface Waiting {
  resolve: (value: Int8Values | Nf4Values) => void;
  reject: (error: Error) => void;
}

/**
 * Start threads that quantise. Each takes the next matrix in turn.
 *
 * @example
 * const quantizer = openQuantizer();
 * const parts = await Promise.all(weights.map(({ data, shape }) => quantizer.nf4(data, shape)));
 * await quantizer.close();
 */
export function openQuantizer(threads = 2): Quantizer {
  const pool = Array.from({ length: threads }, () => startThread());
  let next = 0;
  const ask = (request: QuantizeRequest) => pool[next++ % threads].ask(request);
  return {
    int8: (data, shape) => ask({ kind: "int8", data, shape }) as Promise<Int8Values>,
    nf4: (data, shape) => ask({ kind: "nf4", data, shape }) as Promise<Nf4Values>,
    close: async () => {
      await Promise.all(pool.map((thread) => thread.close()));
    },
  };
}

function startThread() {
  const worker = new Worker(new URL("./worker.js", import.meta.url));
  worker.unref();
  const waiting: Waiting[] = [];
  const fail = (error: Error) => {
    for (const { reject } of waiting.splice(0)) reject(error);
  };
  // Answers come in the order of the requests.
  worker.on("message", (reply: QuantizeReply) => {
    const first = waiting.shift();
    if (waiting.length === 0) worker.unref();
    if ("error" in reply) first?.reject(new Error(reply.error));
    else first?.resolve(reply.value);
  });
  worker.on("error", fail);
  worker.on("exit", () => fail(new Error("The quantizer is closed.")));
  return {
    ask: (request: QuantizeRequest) =>
      new Promise<Int8Values | Nf4Values>((resolve, reject) => {
        waiting.push({ resolve, reject });
        worker.ref();
        worker.postMessage(request, [request.data.buffer as ArrayBuffer]);
      }),
    close: () => worker.terminate(),
  };
}
