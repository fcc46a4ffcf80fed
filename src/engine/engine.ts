import { type DType, type HostValue, hostArray, type Shape, type TensorData, zeros } from "../tensor/index.ts";
import {
  checkDevice,
  cpuDevice,
  type Device,
  type DeviceName,
  findCandidates,
  gpuName,
  missingForWebGpu,
  worthwhile,
} from "./device.ts";
import type { Executor } from "./executor.ts";
import { openExecutor } from "./executors.ts";
import { type Attempt, checkFits, EngineError, explainFailure } from "./failure.ts";
import { findVulkan } from "./hardware.ts";
import { measureGflops } from "./measure.ts";
import { estimateMemory, memoryLimit } from "./memory.ts";
import { defineProgram, type Program, type ProgramDefinition, ProgramError } from "./program.ts";

/** Options of {@link Engine.open}. */
export interface EngineOptions {
  /**
   * "auto" selects a GPU that multiplies matrices at least twice as fast as the CPU, else the CPU; {@link Device.reason}
   * says why. Default: the environment's ANNEAL_DEVICE, else "auto".
   */
  device?: DeviceName | "auto";
  /** CPU threads. Default: all that the process may use. */
  threads?: number;
}

/**
 * Compiles tensor programs for a device and runs them, off the caller's thread. Requests are processed in order.
 *
 * @example
 * const engine = await Engine.open();
 * const x = input("x", [2, 2]);
 * const program = await engine.compile({ outputs: { y: x.matmul(x) } });
 * const { y } = await program.run({ x: Float32Array.of(1, 2, 3, 4) });
 */
export class Engine {
  readonly device: Device;
  readonly #executor: Executor;
  #failure: EngineError | undefined;
  #names = 0;

  private constructor(device: Device) {
    this.device = device;
    this.#executor = openExecutor(device);
    this.#executor.onEnd((reason) => {
      this.#failure ??= new EngineError(reason);
    });
  }

  /** @throws EngineError when the requested device is not available, saying what is missing */
  static async open(options: EngineOptions = {}): Promise<Engine> {
    const { device, threads } = checkDevice(options.device, options.threads);
    if (device === "cpu") return new Engine(cpuDevice(threads, "as requested"));
    if (device === "interpreter") {
      return new Engine({ name: device, threads: 1, model: "double precision", reason: "as requested" });
    }
    const { gpus, obstacle } = await findCandidates();
    const model = gpuName(gpus);
    if (device === "webgpu") {
      const engine = new Engine({ name: "webgpu", threads: 1, model, reason: "as requested" });
      await engine.#probe();
      return engine;
    }
    if (obstacle) return new Engine(cpuDevice(threads, obstacle));
    return Engine.#faster(threads, model);
  }

  /** Returns the faster of CPU and GPU, by measurement. */
  static async #faster(threads: number, model: string): Promise<Engine> {
    const cpu = new Engine(cpuDevice(threads, "as requested"));
    const gpu = new Engine({ name: "webgpu", threads: 1, model, reason: "as requested" });
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

  /** Checks that the GPU works. */
  async #probe(): Promise<void> {
    try {
      await (await this.compile({ name: "a first program", outputs: { y: zeros([1]) } })).release();
    } catch (error) {
      await this.close();
      const vulkan = findVulkan();
      const why = (vulkan && missingForWebGpu(vulkan)) ?? (error as Error).message;
      throw new EngineError(`There is no GPU that WebGPU can use: ${why}. \`anneal doctor\` shows details.`);
    }
  }

  /** Validates, lowers and loads a program. */
  async compile(definition: ProgramDefinition): Promise<CompiledProgram> {
    const program = defineProgram(definition);
    const attempt: Attempt = { what: definition.name ?? "a program", need: estimateMemory(program) };
    if (this.device.name === "cpu" && attempt.need) checkFits(attempt.need, memoryLimit(), attempt.what);
    const id = this.#names++;
    await this.request((executor) => executor.compile(id, program), attempt);
    return new CompiledProgram(this, id, program, attempt);
  }

  /** Creates an empty set of variables on the device. */
  createState(): State {
    return new State(this, this.#names++);
  }

  /**
   * Sends a request to the executor, and explains failures.
   * @throws EngineError
   */
  async request<T>(work: (executor: Executor) => Promise<T>, attempt: Attempt = { what: "moving values" }): Promise<T> {
    if (this.#failure) throw this.#failure;
    try {
      return await work(this.#executor);
    } catch (error) {
      if (this.#failure) throw this.#failure;
      const message = error instanceof Error ? error.message : String(error);
      const failure = this.#executor.classify(message);
      const explained = explainFailure(message, failure, this.device, attempt);
      if (failure.kind === "lost") {
        this.#failure = explained;
        void this.close();
      }
      throw explained;
    }
  }

  async close(): Promise<void> {
    this.#failure ??= new EngineError("The engine is closed.");
    await this.#executor.close();
  }

  /** Whether the engine can no longer be used: it was closed, or its device was lost. */
  get closed(): boolean {
    return this.#failure !== undefined;
  }
}

/** A program that is loaded on a device. */
export class CompiledProgram {
  readonly #engine: Engine;
  readonly #id: number;
  readonly #program: Program;
  readonly #attempt: Attempt;

  constructor(engine: Engine, id: number, program: Program, attempt: Attempt) {
    this.#engine = engine;
    this.#id = id;
    this.#program = program;
    this.#attempt = attempt;
  }

  /**
   * Runs the program once.
   * @param values a typed array for each input of the program, except for those with a source
   * @param state contains the program's variables, and is updated
   * @returns the values of the outputs
   */
  async run(values: Record<string, TensorData> = {}, state?: State): Promise<Record<string, TensorData>> {
    const inputs: Record<string, TensorData> = {};
    for (const { attributes } of this.#program.inputs) {
      const { name, dtype, shape, source } = attributes;
      inputs[name] = checkInput(name, dtype, shape, values[name] ?? source?.());
    }
    return this.#engine.request((executor) => executor.run(this.#id, state?.id, inputs), this.#attempt);
  }

  /** Frees the program on the device. */
  async release(): Promise<void> {
    await this.#engine.request((executor) => executor.unload(this.#id));
  }
}

function checkInput(name: string, dtype: DType, shape: Shape, value: TensorData | undefined): TensorData {
  const size = shape.reduce((a, b) => a * b, 1);
  if (value instanceof hostArray(dtype) && value.length === size) return value;
  const got = value === undefined ? "nothing" : `${value.constructor.name} of ${value.length}`;
  throw new ProgramError(`Input ${name} must be ${dtype} [${shape}] (${size} values), got ${got}.`);
}

/** Variables on a device: parameters, optimizer state. Programs read and update them by name. */
export class State {
  readonly id: number;
  readonly #engine: Engine;

  constructor(engine: Engine, id: number) {
    this.#engine = engine;
    this.id = id;
  }

  /**
   * Creates or replaces variables. The data of float16 and bfloat16 variables is a Uint16Array of their bits, or a
   * Float32Array, which is rounded.
   * @param options.transfer transfer the arrays' buffers instead of copying them; the arrays are then empty
   */
  async write(values: Readonly<Record<string, HostValue>>, options: { transfer?: boolean } = {}): Promise<void> {
    const bytes = Object.values(values).reduce((sum, { data }) => sum + data.byteLength, 0);
    const attempt = { what: "storing variables", need: { variables: bytes, workspace: 0 } };
    const transfer = options.transfer ?? false;
    await this.#engine.request((executor) => executor.write(this.id, values, transfer), attempt);
  }

  /**
   * Reads variables; all of them when no names are given.
   * @param options.raw return 16-bit floats as their bits (`Uint16Array`) instead of float32
   */
  async read(names?: readonly string[], options: { raw?: boolean } = {}): Promise<Record<string, HostValue>> {
    return this.#engine.request((executor) => executor.read(this.id, names, options.raw ?? false));
  }

  /** Removes variables. */
  async remove(names: readonly string[]): Promise<void> {
    await this.#engine.request((executor) => executor.remove(this.id, names));
  }

  /** Frees the variables on the device. */
  async release(): Promise<void> {
    await this.#engine.request((executor) => executor.release(this.id));
  }
}

const shared = new Map<string, Promise<Engine>>();

/** Returns the engine that cells share, one for each choice of device and threads. It is opened on first use. */
export async function sharedEngine({ device, threads }: EngineOptions = {}): Promise<Engine> {
  const options = { ...(device ? { device } : {}), ...(threads ? { threads } : {}) };
  const key = JSON.stringify(checkDevice(device, threads));
  const opened = shared.get(key) ?? Engine.open(options);
  shared.set(key, opened);
  // An engine that could not be opened, or lost its device, is replaced on the next call.
  const engine = await opened.catch((error: unknown) => {
    shared.delete(key);
    throw error;
  });
  if (!engine.closed) return engine;
  shared.delete(key);
  return sharedEngine(options);
}

/** Returns the shared engine of the default device. */
export const defaultEngine = (): Promise<Engine> => sharedEngine();
