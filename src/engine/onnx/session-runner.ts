import type * as ort from "onnxruntime-node";
import type { DType, HostValue, Shape, TensorData } from "../../tensor/index.ts";
import type { DeviceName } from "../device.ts";
import { openSession } from "./cache.ts";
import { graphNames } from "./lower.ts";
import { sessionOptions } from "./session.ts";
import { deviceTransfer, hostTensor, hostTransfer, type Transfer } from "./transfer.ts";
import { borderType, emptyTensor, fromRuntime } from "./values.ts";

/** Metadata of a program that the executor needs besides its bytes. */
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
  /** Second buffers of variables that cannot be updated in place; they alternate with the first. */
  spares: Map<string, ort.Tensor>;
}

/**
 * Runs lowered programs with ONNX Runtime. Variables are stored in states: named tensors that stay on the device. All calls
 * block the thread while the runtime works, so this runs on a separate thread (thread.ts).
 */
export class SessionRunner {
  readonly #options: ort.InferenceSession.SessionOptions;
  readonly #transfer: Transfer;
  readonly #programs = new Map<number, Loaded>();
  readonly #states = new Map<number, Variables>();

  constructor(device: DeviceName, threads: number) {
    this.#options = sessionOptions(device, threads);
    this.#transfer = device === "cpu" ? hostTransfer : deviceTransfer(this.#options);
  }

  async load(program: number, bytes: Uint8Array, plan: ProgramPlan): Promise<void> {
    const session = await openSession(bytes, this.#options);
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

  /** Returns copies, whose buffers the caller may transfer. */
  async read(state: number, names?: readonly string[], raw?: boolean): Promise<Record<string, HostValue>> {
    const { values: source } = this.#variables(state);
    const result: Record<string, HostValue> = {};
    for (const name of names ?? source.keys()) {
      const value = source.get(name);
      if (!value) throw new Error(`There is no variable ${name}.`);
      result[name] = await this.#transfer.download(value, raw);
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
    for (const [i, { name, dtype, shape }] of plan.inputs.entries()) {
      feeds[graphNames.input(i)] = hostTensor({ dtype: borderType(dtype), shape, data: inputs[name] });
    }
    for (const [i, name] of plan.variables.entries()) {
      const value = variables?.values.get(name);
      if (!value) throw new Error(`Variable ${name} has no value in this state.`);
      feeds[graphNames.variable(i)] = value;
    }
    const targets: Record<string, ort.Tensor> = {};
    for (const [i, { dtype, shape }] of plan.outputs.entries()) {
      targets[graphNames.output(i)] = emptyTensor(borderType(dtype), shape);
    }
    for (const [i, update] of plan.updates.entries()) {
      targets[graphNames.update(i)] = await this.#target(update, variables);
    }
    await runInto(session, feeds, targets);
    for (const [i, { name, inPlace }] of (variables ? plan.updates : []).entries()) {
      const before = variables?.values.get(name);
      if (inPlace && before) continue;
      variables?.values.set(name, targets[graphNames.update(i)]);
      if (before) variables?.spares.set(name, before);
    }
    return Object.fromEntries(plan.outputs.map(({ name }, i) => [name, fromRuntime(targets[graphNames.output(i)])]));
  }

  /** Returns the buffer for an update's result: the variable's own, or a second one. */
  async #target(
    { name, dtype, shape, inPlace }: ProgramPlan["updates"][number],
    variables: Variables | undefined,
  ): Promise<ort.Tensor> {
    const before = variables?.values.get(name);
    if (inPlace && before) return before;
    const spare = variables?.spares.get(name);
    if (!spare || String(spare.dims) !== String(shape)) return this.#transfer.allocate(dtype, shape);
    variables?.spares.delete(name);
    return spare;
  }

  #variables(state: number): Variables {
    const variables = this.#states.get(state) ?? { values: new Map(), spares: new Map() };
    this.#states.set(state, variables);
    return variables;
  }
}

/**
 * Runs a program whose results are written only to `targets`. The binding also returns a host copy of each result, even of
 * preallocated ones: for a training step, a copy of the whole state. Therefore the first result of a CPU program has a type
 * that the binding cannot return: the call fails there, after everything is computed and before anything is copied.
 */
async function runInto(
  session: ort.InferenceSession,
  feeds: Record<string, ort.Tensor>,
  targets: Record<string, ort.Tensor>,
): Promise<void> {
  const ending = session.outputNames[0] === graphNames.end ? { [graphNames.end]: null } : {};
  try {
    await session.run(feeds, { ...ending, ...targets } as Record<string, ort.Tensor>);
  } catch (error) {
    if (!(error instanceof Error && error.message.startsWith("Non tensor type"))) throw error;
  }
}
