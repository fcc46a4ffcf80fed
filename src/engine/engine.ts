import { Worker } from "node:worker_threads";
import {
  type DType,
  type HostValue,
  hostArray,
  type Shape,
  setEvaluator,
  type Tensor,
  type TensorData,
} from "../tensor/index.ts";
import { type Device, type DeviceName, resolveDevice } from "./device.ts";
import type { ProgramPlan } from "./onnx/executor.ts";
import { lower } from "./onnx/lower.ts";
import { defineProgram, type ProgramDefinition, ProgramError } from "./program.ts";
import type { Reply, Request } from "./worker.ts";

/** The device could not do what was asked: out of memory, lost, or an operation it lacks. */
export class EngineError extends Error {
  override name = "EngineError";
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Options of {@link Engine.open}. */
export interface EngineOptions {
  device?: DeviceName | "auto";
  /** CPU threads; all that the process may use when left out. */
  threads?: number;
}

/**
 * Compiles tensor programs for a device and runs them on a thread of its own, so that the caller's thread stays
 * responsive. Requests are served in order.
 *
 * @example
 * const engine = await Engine.open();
 * const x = input("x", [2, 2]);
 * const program = await engine.compile({ outputs: { y: x.matmul(x) } });
 * const { y } = await program.run({ x: Float32Array.of(1, 2, 3, 4) });
 */
export class Engine {
  readonly device: Device;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #failure: EngineError | undefined;
  #requests = 0;
  #names = 0;

  private constructor(device: Device) {
    this.device = device;
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: device });
    this.#worker.unref();
    this.#worker.on("message", (reply: Reply) => this.#settle(reply));
    this.#worker.on("error", (error) => this.#fail(`The engine's thread ended: ${error.message}`));
    this.#worker.on("exit", () => this.#fail("The engine is closed."));
  }

  static async open({ device, threads }: EngineOptions = {}): Promise<Engine> {
    return new Engine(resolveDevice(device, threads));
  }

  /** Check, lower and load a program. */
  async compile(definition: ProgramDefinition): Promise<CompiledProgram> {
    const program = defineProgram(definition);
    const plan: ProgramPlan = {
      inputs: program.inputs.map(({ attributes: { name, dtype, shape } }) => ({ name, dtype, shape })),
      variables: program.variables.map(({ attributes: { name } }) => name),
      outputs: Object.entries(program.outputs).map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
      updates: Object.entries(program.updates).map(([name, { dtype, shape }]) => {
        return { name, dtype, shape, inPlace: program.inPlace.has(name) };
      }),
    };
    const id = this.#names++;
    const bytes = lower(program);
    await this.request({ kind: "load", program: id, bytes, plan });
    return new CompiledProgram(this, id, plan);
  }

  /** A new, empty set of variables on the device. */
  createState(): State {
    return new State(this, this.#names++);
  }

  /** Ask the engine's thread. */
  request(request: Request, transfer: readonly ArrayBuffer[] = []): Promise<unknown> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#requests++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      // A process with nothing left to wait for but an answer must wait for it; an idle engine keeps nobody alive.
      this.#worker.ref();
      this.#worker.postMessage({ id, request }, transfer);
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #settle(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if ("error" in reply) waiting?.reject(new EngineError(explain(reply.error)));
    else waiting?.resolve(reply.value);
  }

  #fail(message: string): void {
    this.#failure ??= new EngineError(message);
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}

function explain(message: string): string {
  const outOfMemory = /alloc|out of memory|bad_alloc/i.test(message);
  return outOfMemory
    ? `The device ran out of memory (${message}). Lower perDeviceBatchSize or maxSeqLength, or raise gradientAccumulationSteps instead of the batch.`
    : message;
}

/** A program that is loaded on a device. */
export class CompiledProgram {
  readonly #engine: Engine;
  readonly #id: number;
  readonly #plan: ProgramPlan;

  constructor(engine: Engine, id: number, plan: ProgramPlan) {
    this.#engine = engine;
    this.#id = id;
    this.#plan = plan;
  }

  /**
   * Run once.
   * @param inputs a typed array for each input of the program
   * @param state holds the program's variables, and takes their new values
   * @returns the outputs' values
   */
  async run(inputs: Record<string, TensorData> = {}, state?: State): Promise<Record<string, TensorData>> {
    for (const { name, dtype, shape } of this.#plan.inputs) checkInput(name, dtype, shape, inputs[name]);
    const result = await this.#engine.request({ kind: "run", program: this.#id, state: state?.id, inputs });
    return result as Record<string, TensorData>;
  }

  /** Free it on the device. */
  async release(): Promise<void> {
    await this.#engine.request({ kind: "unload", program: this.#id });
  }
}

function checkInput(name: string, dtype: DType, shape: Shape, value: TensorData | undefined): void {
  const size = shape.reduce((a, b) => a * b, 1);
  if (value instanceof hostArray(dtype) && value.length === size) return;
  const got = value === undefined ? "nothing" : `${value.constructor.name} of ${value.length}`;
  throw new ProgramError(`Input ${name} should be ${dtype} [${shape}] (${size} values), got ${got}.`);
}

/** Variables on a device: parameters, optimizer moments. Programs read and update them by name. */
export class State {
  readonly id: number;
  readonly #engine: Engine;

  constructor(engine: Engine, id: number) {
    this.#engine = engine;
    this.id = id;
  }

  /**
   * Create or replace variables.
   * @param options.transfer give the arrays away instead of copying them: they are empty afterwards
   */
  async write(values: Record<string, HostValue>, options: { transfer?: boolean } = {}): Promise<void> {
    const buffers = options.transfer ? Object.values(values).map(({ data }) => data.buffer) : [];
    await this.#engine.request({ kind: "write", state: this.id, values }, buffers);
  }

  /** Copy variables back, all of them when no names are given. */
  async read(names?: readonly string[]): Promise<Record<string, HostValue>> {
    return (await this.#engine.request({ kind: "read", state: this.id, names })) as Record<string, HostValue>;
  }

  /** Drop variables that are no longer needed. */
  async remove(names: readonly string[]): Promise<void> {
    await this.#engine.request({ kind: "remove", state: this.id, names });
  }

  /** Free them on the device. */
  async release(): Promise<void> {
    await this.#engine.request({ kind: "release", state: this.id });
  }
}

let shared: Promise<Engine> | undefined;

/** The engine that cells share, opened at the first use. */
export function defaultEngine(): Promise<Engine> {
  shared ??= Engine.open();
  return shared;
}

setEvaluator(async (tensors: readonly Tensor[]) => {
  const engine = await defaultEngine();
  const program = await engine.compile({ outputs: Object.fromEntries(tensors.map((t, i) => [String(i), t])) });
  try {
    const values = await program.run();
    return tensors.map((_, i) => values[String(i)]);
  } finally {
    await program.release();
  }
});
