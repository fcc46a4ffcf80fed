import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import * as ort from "onnxruntime-node";
import type { HostValue, TensorData } from "../../tensor/index.ts";
import type { Device, DeviceName } from "../device.ts";
import type { Executor, Failure } from "../executor.ts";
import type { Program } from "../program.ts";
import { classifyFailure } from "./failure.ts";
import { lower } from "./lower.ts";
import type { ProgramPlan } from "./session-runner.ts";
import type { Reply, Request } from "./thread.ts";

/** Returns the version of the onnxruntime-node package. */
export function runtimeVersion(): string {
  return (createRequire(import.meta.url)("onnxruntime-node/package.json") as { version: string }).version;
}

/**
 * Loads a program on a device with fallback to the CPU disabled.
 * @throws Error when the program needs the fallback
 */
export async function loadsWithoutFallback(program: Program, device: DeviceName): Promise<void> {
  const session = await ort.InferenceSession.create(lower(program, device), {
    executionProviders: [device],
    logSeverityLevel: 4,
    extra: { session: { disable_cpu_ep_fallback: "1" } },
  });
  await session.release();
}

interface PendingRequest {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Runs programs with ONNX Runtime on a separate thread, so that the caller's thread stays responsive. */
export class OnnxExecutor implements Executor {
  readonly #device: Device;
  readonly #worker: Worker;
  readonly #pending = new Map<number, PendingRequest>();
  readonly #listeners: ((reason: string) => void)[] = [];
  #ended: string | undefined;
  #requests = 0;

  constructor(device: Device) {
    this.#device = device;
    this.#worker = new Worker(new URL("./thread.js", import.meta.url), { workerData: device });
    this.#worker.unref();
    this.#worker.on("message", (reply: Reply) => this.#settle(reply));
    this.#worker.on("error", (error) => this.#end(`The engine's thread ended: ${error.message}`));
    this.#worker.on("exit", () => this.#end("The engine is closed."));
  }

  async compile(id: number, program: Program): Promise<void> {
    const plan: ProgramPlan = {
      inputs: program.inputs.map(({ attributes: { name, dtype, shape } }) => ({ name, dtype, shape })),
      variables: program.variables.map(({ attributes: { name } }) => name),
      outputs: Object.entries(program.outputs).map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
      updates: Object.entries(program.updates).map(([name, { dtype, shape }]) => {
        return { name, dtype, shape, inPlace: program.inPlace.has(name) };
      }),
    };
    const bytes = lower(program, this.#device.name);
    await this.#request({ kind: "load", program: id, bytes, plan });
  }

  async unload(id: number): Promise<void> {
    await this.#request({ kind: "unload", program: id });
  }

  async run(id: number, state: number | undefined, inputs: Readonly<Record<string, TensorData>>) {
    return (await this.#request({ kind: "run", program: id, state, inputs })) as Record<string, TensorData>;
  }

  async write(state: number, values: Readonly<Record<string, HostValue>>, transfer: boolean): Promise<void> {
    const buffers = transfer ? [...new Set(Object.values(values).map(({ data }) => data.buffer))] : [];
    await this.#request({ kind: "write", state, values }, buffers);
  }

  async read(state: number, names: readonly string[] | undefined, raw: boolean) {
    return (await this.#request({ kind: "read", state, names, raw })) as Record<string, HostValue>;
  }

  async remove(state: number, names: readonly string[]): Promise<void> {
    await this.#request({ kind: "remove", state, names });
  }

  async release(state: number): Promise<void> {
    await this.#request({ kind: "release", state });
  }

  classify(message: string): Failure {
    return classifyFailure(message);
  }

  onEnd(listener: (reason: string) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  /** Marks the executor as ended: notifies listeners and rejects pending requests. */
  #end(reason: string): void {
    this.#ended ??= reason;
    for (const listener of this.#listeners) listener(this.#ended);
    for (const { reject } of this.#pending.values()) reject(new Error(this.#ended));
    this.#pending.clear();
  }

  #request(request: Request, transfer: readonly ArrayBuffer[] = []): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(new Error(this.#ended));
    const id = this.#requests++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      // Pending requests keep the process alive; an idle engine does not.
      this.#worker.ref();
      this.#worker.postMessage({ id, request }, transfer);
    });
  }

  #settle(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#worker.unref();
    if ("error" in reply) pending?.reject(new Error(reply.error));
    else pending?.resolve(reply.value);
  }
}
