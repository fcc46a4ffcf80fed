import { Worker } from "node:worker_threads";
import { type DType, type HostValue, hostArray, type Shape, type TensorData, zeros } from "../tensor/index.ts";
import {
  checkDevice,
  cpuDevice,
  type Device,
  type DeviceName,
  findCandidates,
  gpuName,
  lackOf,
  worthwhile,
} from "./device.ts";
import { type Attempt, checkFits, EngineError, explainFailure, isLost } from "./failure.ts";
import { findVulkan } from "./hardware.ts";
import { measureGflops } from "./measure.ts";
import { estimateMemory, memoryLimit } from "./memory.ts";
import type { ProgramPlan } from "./onnx/executor.ts";
import { lower } from "./onnx/lower.ts";
import { defineProgram, type ProgramDefinition, ProgramError } from "./program.ts";
import type { Reply, Request } from "./worker.ts";

interface Waiting {
  readonly attempt: Attempt;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Options of {@link Engine.open}. */
export interface EngineOptions {
  /**
   * "auto" takes a GPU that multiplies matrices at least twice as fast as the CPU, else the CPU, and says why in
   * {@link Device.reason}. Default: the environment's ANNEAL_DEVICE, else "auto".
   */
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
    this.#worker.on("error", (error) => this.#fail(new EngineError(`The engine's thread ended: ${error.message}`)));
    this.#worker.on("exit", () => this.#fail(new EngineError("The engine is closed.")));
  }

  /** @throws EngineError when the device that was asked for is not there, with what is missing */
  static async open(options: EngineOptions = {}): Promise<Engine> {
    const { device, threads } = checkDevice(options.device, options.threads);
    if (device === "cpu") return new Engine(cpuDevice(threads, "as asked"));
    const { gpus, obstacle } = await findCandidates();
    const model = gpuName(gpus);
    if (device === "webgpu") {
      const engine = new Engine({ name: "webgpu", threads: 1, model, reason: "as asked" });
      await engine.#probe();
      return engine;
    }
    if (obstacle) return new Engine(cpuDevice(threads, obstacle));
    return Engine.#faster(threads, model);
  }

  /** The faster of CPU and GPU: what a GPU is worth can only be measured. */
  static async #faster(threads: number, model: string): Promise<Engine> {
    const cpu = new Engine(cpuDevice(threads, "as asked"));
    const gpu = new Engine({ name: "webgpu", threads: 1, model, reason: "as asked" });
    const [loser, name, reason] = await gpu
      .#probe()
      .then(async () => {
        const ratio = (await measureGflops(gpu, 0.3)) / (await measureGflops(cpu, 0.3));
        const times = `${ratio < 10 ? ratio.toFixed(1) : Math.round(ratio)} times the CPU's matrix products`;
        return ratio >= worthwhile
          ? ([cpu, "webgpu", times] as const)
          : ([gpu, "cpu", `the GPU ${model} has only ${times}`] as const);
      })
      .catch((error: Error) => [gpu, "cpu", error.message] as const);
    const winner = loser === cpu ? gpu : cpu;
    await Promise.all([cpu.close(), gpu.close()]);
    return new Engine({ ...winner.device, name, reason });
  }

  /** Find out whether the GPU can be used at all. */
  async #probe(): Promise<void> {
    try {
      await (await this.compile({ name: "a first program", outputs: { y: zeros([1]) } })).release();
    } catch (error) {
      await this.close();
      const vulkan = findVulkan();
      const why = (vulkan && lackOf(vulkan)) ?? (error as Error).message;
      throw new EngineError(`There is no GPU that WebGPU can use: ${why}. \`anneal doctor\` shows what was found.`);
    }
  }

  /** Check, lower and load a program. */
  async compile(definition: ProgramDefinition): Promise<CompiledProgram> {
    const program = defineProgram(definition);
    const attempt: Attempt = { what: definition.name ?? "a program", need: estimateMemory(program) };
    if (this.device.name === "cpu" && attempt.need) checkFits(attempt.need, memoryLimit(), attempt.what);
    const plan: ProgramPlan = {
      inputs: program.inputs.map(({ attributes: { name, dtype, shape } }) => ({ name, dtype, shape })),
      variables: program.variables.map(({ attributes: { name } }) => name),
      outputs: Object.entries(program.outputs).map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
      updates: Object.entries(program.updates).map(([name, { dtype, shape }]) => {
        return { name, dtype, shape, inPlace: program.inPlace.has(name) };
      }),
    };
    const id = this.#names++;
    const bytes = lower(program, this.device.name);
    await this.request({ kind: "load", program: id, bytes, plan }, { attempt });
    const sources = program.inputs.flatMap(({ attributes: { name, source } }) =>
      source ? [[name, source] as const] : [],
    );
    return new CompiledProgram(this, id, plan, attempt, new Map(sources));
  }

  /** A new, empty set of variables on the device. */
  createState(): State {
    return new State(this, this.#names++);
  }

  /** Ask the engine's thread. */
  request(
    request: Request,
    {
      attempt = { what: "moving values" },
      transfer = [],
    }: { attempt?: Attempt; transfer?: readonly ArrayBuffer[] } = {},
  ): Promise<unknown> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#requests++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { attempt, resolve, reject });
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
    if (!("error" in reply)) {
      waiting?.resolve(reply.value);
      return;
    }
    const error = explainFailure(reply.error, this.device, waiting?.attempt ?? { what: "a program" });
    waiting?.reject(error);
    if (isLost(reply.error)) {
      this.#fail(error);
      void this.close();
    }
  }

  /** Whether it can be asked no more: closed, or its device was lost. */
  get closed(): boolean {
    return this.#failure !== undefined;
  }

  #fail(error: EngineError): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}

/** A program that is loaded on a device. */
export class CompiledProgram {
  readonly #engine: Engine;
  readonly #id: number;
  readonly #plan: ProgramPlan;
  readonly #attempt: Attempt;
  readonly #sources: ReadonlyMap<string, () => TensorData>;

  constructor(
    engine: Engine,
    id: number,
    plan: ProgramPlan,
    attempt: Attempt,
    sources: ReadonlyMap<string, () => TensorData>,
  ) {
    this.#sources = sources;
    this.#engine = engine;
    this.#id = id;
    this.#plan = plan;
    this.#attempt = attempt;
  }

  /**
   * Run once.
   * @param given a typed array for each input of the program, but for those that have a source of their own
   * @param state holds the program's variables, and takes their new values
   * @returns the outputs' values
   */
  async run(given: Record<string, TensorData> = {}, state?: State): Promise<Record<string, TensorData>> {
    const inputs = { ...given };
    for (const [name, source] of this.#sources) inputs[name] ??= source();
    for (const { name, dtype, shape } of this.#plan.inputs) checkInput(name, dtype, shape, inputs[name]);
    const request = { kind: "run", program: this.#id, state: state?.id, inputs } as const;
    const result = await this.#engine.request(request, { attempt: this.#attempt });
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
    const transfer = options.transfer ? Object.values(values).map(({ data }) => data.buffer) : [];
    const bytes = Object.values(values).reduce((sum, { data }) => sum + data.byteLength, 0);
    const attempt = { what: "storing variables", need: { variables: bytes, workspace: 0 } };
    await this.#engine.request({ kind: "write", state: this.id, values }, { attempt, transfer });
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

const shared = new Map<string, Promise<Engine>>();

/** The engine that cells share, one for each choice of device and threads, opened at the first use. */
export async function sharedEngine(options: EngineOptions = {}): Promise<Engine> {
  const key = JSON.stringify(checkDevice(options.device, options.threads));
  const opened = shared.get(key) ?? Engine.open(options);
  shared.set(key, opened);
  // One that could not be opened, or lost its device, stands in nobody's way.
  const engine = await opened.catch((error: unknown) => {
    shared.delete(key);
    throw error;
  });
  if (!engine.closed) return engine;
  shared.delete(key);
  return sharedEngine(options);
}

/** The engine that cells share when they ask for nothing in particular. */
export const defaultEngine = (): Promise<Engine> => sharedEngine();
