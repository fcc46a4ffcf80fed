import { parentPort, workerData } from "node:worker_threads";
import type { HostValue, TensorData } from "../../tensor/index.ts";
import type { Device } from "../device.ts";
import { type ProgramPlan, SessionRunner } from "./session-runner.ts";

/** Request to the executor's thread. */
export type Request =
  | { kind: "load"; program: number; bytes: Uint8Array; plan: ProgramPlan }
  | { kind: "unload"; program: number }
  | { kind: "write"; state: number; values: Readonly<Record<string, HostValue>> }
  | { kind: "read"; state: number; names: readonly string[] | undefined; raw: boolean }
  | { kind: "remove"; state: number; names: readonly string[] }
  | { kind: "release"; state: number }
  | { kind: "run"; program: number; state: number | undefined; inputs: Readonly<Record<string, TensorData>> };

/** Reply of the thread. */
export type Reply = { id: number } & ({ value: unknown } | { error: string });

// Where there is a Float16Array (Node.js 26), ONNX Runtime's tensors use it, and its binding cannot read or write one.
Reflect.deleteProperty(globalThis, "Float16Array");

const { name, threads } = workerData as Device;
const executor = new SessionRunner(name, threads);

async function answer(request: Request): Promise<unknown> {
  switch (request.kind) {
    case "load":
      return executor.load(request.program, request.bytes, request.plan);
    case "unload":
      return executor.unload(request.program);
    case "write":
      return executor.write(request.state, request.values);
    case "read":
      return executor.read(request.state, request.names, request.raw);
    case "remove":
      return executor.remove(request.state, request.names);
    case "release":
      return executor.release(request.state);
    case "run":
      return executor.run(request.program, request.state, request.inputs);
  }
}

function buffersOf(value: unknown): ArrayBuffer[] {
  const data = Object.values((value ?? {}) as Record<string, HostValue | TensorData>);
  return data.map((item) => ("buffer" in item ? item.buffer : item.data.buffer));
}

// Requests are processed one at a time, in order, so that state is never read half-written.
let queue = Promise.resolve();
parentPort?.on("message", ({ id, request }: { id: number; request: Request }) => {
  queue = queue.then(async () => {
    try {
      const value = await answer(request);
      const transfer = request.kind === "read" || request.kind === "run" ? buffersOf(value) : [];
      parentPort?.postMessage({ id, value } satisfies Reply, transfer);
    } catch (error) {
      parentPort?.postMessage({ id, error: error instanceof Error ? error.message : String(error) } satisfies Reply);
    }
  });
});
