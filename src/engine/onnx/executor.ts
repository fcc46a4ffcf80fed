import * as ort from "onnxruntime-node";
import type { DType, HostValue, Shape, TensorData } from "../../tensor/index.ts";
import type { DeviceName } from "../device.ts";
import { graphNames } from "./lower.ts";
import { fromRuntime, toRuntime } from "./values.ts";

/** What the executor must know of a program besides its bytes. */
export interface ProgramPlan {
  inputs: readonly { name: string; dtype: DType; shape: Shape }[];
  variables: readonly string[];
  outputs: readonly { name: string; dtype: DType; shape: Shape }[];
  updates: readonly { name: string; dtype: DType; shape: Shape; inPlace: boolean }[];
}

interface Loaded {
  session: ort.InferenceSession;
  plan: ProgramPlan;
}

/**
 * Runs lowered programs with ONNX Runtime. Variables live in states: named tensors that stay where the device is.
 * Everything here blocks its thread while the runtime works, so it belongs on a thread of its own.
 */
export class OnnxExecutor {
  readonly #device: DeviceName;
  readonly #threads: number;
  readonly #programs = new Map<number, Loaded>();
  readonly #states = new Map<number, Map<string, ort.Tensor>>();

  constructor(device: DeviceName, threads: number) {
    this.#device = device;
    this.#threads = threads;
  }

  async load(program: number, bytes: Uint8Array, plan: ProgramPlan): Promise<void> {
    const session = await ort.InferenceSession.create(bytes, {
      executionProviders: [this.#device],
      intraOpNumThreads: this.#threads,
      interOpNumThreads: 1,
      executionMode: "sequential",
      graphOptimizationLevel: "all",
      logSeverityLevel: 3,
      // Denormal numbers make a step many times slower late in training, and carry nothing.
      extra: { session: { set_denormal_as_zero: "1" } },
    });
    this.#programs.set(program, { session, plan });
  }

  async unload(program: number): Promise<void> {
    await this.#programs.get(program)?.session.release();
    this.#programs.delete(program);
  }

  write(state: number, values: Readonly<Record<string, HostValue>>): void {
    const target = this.#states.get(state) ?? new Map<string, ort.Tensor>();
    this.#states.set(state, target);
    for (const [name, { dtype, data, shape }] of Object.entries(values))
      target.set(name, toRuntime(dtype, data, shape));
  }

  /** Copies, so that the caller may give them away. */
  read(state: number, names?: readonly string[]): Record<string, HostValue> {
    const source = this.#states.get(state) ?? new Map<string, ort.Tensor>();
    const result: Record<string, HostValue> = {};
    for (const name of names ?? source.keys()) {
      const value = source.get(name);
      if (!value) throw new Error(`There is no variable ${name}.`);
      result[name] = { dtype: value.type as DType, shape: value.dims, data: fromRuntime(value).slice() };
    }
    return result;
  }

  remove(state: number, names: readonly string[]): void {
    for (const name of names) this.#states.get(state)?.delete(name);
  }

  release(state: number): void {
    for (const value of this.#states.get(state)?.values() ?? []) value.dispose();
    this.#states.delete(state);
  }

  async run(
    program: number,
    state: number | undefined,
    inputs: Readonly<Record<string, TensorData>>,
  ): Promise<Record<string, TensorData>> {
    const loaded = this.#programs.get(program);
    if (!loaded) throw new Error("This program has been released.");
    const { session, plan } = loaded;
    const variables = state === undefined ? undefined : this.#states.get(state);
    const feeds: Record<string, ort.Tensor> = {};
    for (const { name, dtype, shape } of plan.inputs) {
      const border = dtype === "float16" || dtype === "bfloat16" ? "float32" : dtype;
      feeds[graphNames.input(name)] = toRuntime(border, inputs[name], shape);
    }
    for (const name of plan.variables) {
      const value = variables?.get(name);
      if (!value) throw new Error(`Variable ${name} has no value in this state.`);
      feeds[graphNames.variable(name)] = value;
    }
    const fetches: Record<string, ort.Tensor | null> = {};
    for (const { name } of plan.outputs) fetches[graphNames.output(name)] = null;
    for (const { name, inPlace } of plan.updates) {
      // The old value's own buffer takes the new one.
      fetches[graphNames.update(name)] = (inPlace && variables?.get(name)) || null;
    }
    const results = await session.run(feeds, fetches as Record<string, ort.Tensor>);
    for (const { name, inPlace } of plan.updates) {
      if (!inPlace || !variables?.has(name)) variables?.set(name, results[graphNames.update(name)]);
    }
    return Object.fromEntries(plan.outputs.map(({ name }) => [name, fromRuntime(results[graphNames.output(name)])]));
  }
}
