import { parentPort } from "node:worker_threads";
import { quantizeInt8 } from "./int8.ts";
import { quantizeNf4 } from "./nf4.ts";
import type { QuantizeReply, QuantizeRequest } from "./pool.ts";

parentPort?.on("message", ({ kind, data, shape }: QuantizeRequest) => {
  try {
    const value = kind === "int8" ? quantizeInt8(data, shape) : quantizeNf4(data, shape);
    const buffers = Object.values(value).map(({ buffer }) => buffer as ArrayBuffer);
    parentPort?.postMessage({ value } satisfies QuantizeReply, buffers);
  } catch (error) {
    parentPort?.postMessage({ error: (error as Error).message } satisfies QuantizeReply);
  }
});
