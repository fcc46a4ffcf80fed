import * as ort from "onnxruntime-node";
import { type DType, type HostValue, type Shape, type TensorData, typedArray } from "../../tensor/index.ts";
import type { DeviceName } from "../device.ts";
import { graphNames } from "./lower.ts";
import { sessionOptions } from "./session.ts";
import { deviceTransfer, hostTensor, hostTransfer, type Transfer } from "./transfer.ts";
import { fromRuntime } from "./values.ts";

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

/** Named tensors on the device. */
interface Variables {
  values: Map<string, ort.Tensor>;
  /** Second buffers of variables that cannot change where they lie: they take turns with the first. */
  spares: Map<string, ort.Tensor>;
}

/**
 * Runs lowered programs with ONNX Runtime. Variables live in states: named tensors that stay where the device is.
 * Everything here blocks its thread while the runtime works, so it belongs on a thread of its own.
 */
export class OnnxExecutor {
  readonly #device: DeviceName;
  readonly #options: ort.InferenceSession.SessionOptions;
  readonly #transfer: Transfer;
  readonly #programs = new Map<number, Loaded>();
  readonly #states = new Map<number, Variables>();

  constructor(device: DeviceName, threads: number) {
    this.#device = device;
    this.#options = sessionOptions(device, threads);
    this.#transfer = device === "cpu" ? hostTransfer : deviceTransfer(this.#options);
  }

  async load(program: number, bytes: Uint8Array, plan: ProgramPlan): Promise<void> {
    const session = await ort.InferenceSession.create(bytes, this.#options);
    this.#programs.set(program, { session, plan });
  }

  async unload(program: number): Promise<void> {
    await this.#programs.get(program)?.session.release();
    this.#programs.delete(program);
  }

  async write(state: number, values: Readonly<Record<string, HostValue>>): Promise<void> {
    const { values: target } = this.#variables(state);
    for (const [name, value] of Object.entries(values)) {
      const uploaded = await this.#transfer.upload(value);
      target.get(name)?.dispose();
      target.set(name, uploaded);
    }
  }

  /** Copies, so that the caller may give them away. */
  async read(state: number, names?: readonly string[]): Promise<Record<string, HostValue>> {
    const { values: source } = this.#variables(state);
    const result: Record<string, HostValue> = {};
    for (const name of names ?? source.keys()) {
      const value = source.get(name);
      if (!value) throw new Error(`There is no variable ${name}.`);
      result[name] = await this.#transfer.download(value);
    }
    return result;
  }

  remove(state: number, names: readonly string[]): void {
    const { values, spares } = this.#variables(state);
    for (const name of names) {
      for (const tensors of [values, spares]) {
        tensors.get(name)?.dispose();
        tensors.delete(name);
      }
    }
  }

  release(state: number): void {
    const { values, spares } = this.#variables(state);
    for (const value of [...values.values(), ...spares.values()]) value.dispose();
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
    const variables = state === undefined ? undefined : this.#variables(state);
    const feeds: Record<string, ort.Tensor> = {};
    for (const { name, dtype, shape } of plan.inputs) {
      const border = dtype === "float16" || dtype === "bfloat16" ? "float32" : dtype;
      feeds[graphNames.input(name)] = hostTensor({ dtype: border, shape, data: inputs[name] });
    }
    for (const name of plan.variables) {
      const value = variables?.values.get(name);
      if (!value) throw new Error(`Variable ${name} has no value in this state.`);
      feeds[graphNames.variable(name)] = value;
    }
    const fetches: Record<string, ort.Tensor | null> = {};
    for (const { name } of plan.outputs) fetches[graphNames.output(name)] = null;
    for (const update of plan.updates) fetches[graphNames.update(update.name)] = await this.#target(update, variables);
    const results = await session.run(feeds, fetches as Record<string, ort.Tensor>);
    if (variables) {
      for (const { name, inPlace } of plan.updates) {
        const before = variables.values.get(name);
        if (inPlace && before) continue;
        variables.values.set(name, fetches[graphNames.update(name)] ?? results[graphNames.update(name)]);
        if (before && this.#device !== "cpu") variables.spares.set(name, before);
      }
    }
    return Object.fromEntries(plan.outputs.map(({ name }) => [name, fromRuntime(results[graphNames.output(name)])]));
  }

  /** Where an update's result goes: over the old value, or into a buffer beside it; null lets the runtime make one. */
  async #target(
    { name, dtype, shape, inPlace }: ProgramPlan["updates"][number],
    variables: Variables | undefined,
  ): Promise<ort.Tensor | null> {
    const before = variables?.values.get(name);
    if (inPlace && before) return before;
    // What the runtime makes by itself, it makes in the host's memory.
    if (this.#device === "cpu") return null;
    const spare = variables?.spares.get(name);
    if (spare && String(spare.dims) === String(shape)) {
      variables?.spares.delete(name);
      return spare;
    }
    const size = shape.reduce((a, b) => a * b, 1);
    return this.#transfer.upload({ dtype, shape, data: typedArray(dtype, size) });
  }

  #variables(state: number): Variables {
    const known = this.#states.get(state) ?? { values: new Map(), spares: new Map() };
    this.#states.set(state, known);
    return known;
  }
}
