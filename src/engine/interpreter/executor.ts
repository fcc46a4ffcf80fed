import { type HostValue, hostArray, type Tensor, type TensorData } from "../../tensor/index.ts";
import type { Executor, Failure } from "../executor.ts";
import type { Program } from "../program.ts";
import { interpret } from "./interpret.ts";

/** A variable with its value in double precision. */
interface StoredVariable {
  readonly value: HostValue;
  readonly data: Float64Array;
}

/**
 * Runs programs in plain TypeScript and double precision, on the caller's thread. Slow; other executors are tested against
 * it. Values are rounded to their dtype only when they are read.
 */
export class InterpreterExecutor implements Executor {
  readonly #programs = new Map<number, Program>();
  readonly #states = new Map<number, Map<string, StoredVariable>>();

  async compile(id: number, program: Program): Promise<void> {
    this.#programs.set(id, program);
  }

  async unload(id: number): Promise<void> {
    this.#programs.delete(id);
  }

  async run(id: number, state: number | undefined, inputs: Readonly<Record<string, TensorData>>) {
    const program = this.#programs.get(id);
    if (!program) throw new Error("This program has been released.");
    const variables = state === undefined ? new Map<string, StoredVariable>() : this.#state(state);
    const leafValues = new Map<Tensor, ArrayLike<number>>();
    for (const node of program.inputs) leafValues.set(node, inputs[node.attributes.name]);
    for (const node of program.variables) {
      const variable = variables.get(node.attributes.name);
      if (!variable) throw new Error(`Variable ${node.attributes.name} has no value in this state.`);
      leafValues.set(node, variable.data);
    }
    const outputs = Object.entries(program.outputs);
    const updates = Object.entries(program.updates);
    const values = interpret(
      [...outputs, ...updates].map(([, t]) => t),
      leafValues,
    );
    updates.forEach(([name, { dtype, shape }], i) => {
      const data = values[outputs.length + i];
      variables.set(name, { value: { dtype, shape, data: toHost(dtype, data) }, data });
    });
    return Object.fromEntries(outputs.map(([name, { dtype }], i) => [name, toHost(dtype, values[i])]));
  }

  async write(state: number, values: Readonly<Record<string, HostValue>>): Promise<void> {
    const variables = this.#state(state);
    for (const [name, value] of Object.entries(values)) {
      variables.set(name, { value, data: Float64Array.from(value.data) });
    }
  }

  async read(state: number, names: readonly string[] | undefined) {
    const variables = this.#state(state);
    return Object.fromEntries(
      [...(names ?? variables.keys())].map((name): [string, HostValue] => {
        const variable = variables.get(name);
        if (!variable) throw new Error(`There is no variable ${name}.`);
        return [name, { ...variable.value, data: toHost(variable.value.dtype, variable.data) }];
      }),
    );
  }

  async remove(state: number, names: readonly string[]): Promise<void> {
    for (const name of names) this.#state(state).delete(name);
  }

  async release(state: number): Promise<void> {
    this.#states.delete(state);
  }

  classify(): Failure {
    return { kind: "other" };
  }

  onEnd(): void {
    // It ends only by close().
  }

  async close(): Promise<void> {
    this.#programs.clear();
    this.#states.clear();
  }

  #state(id: number): Map<string, StoredVariable> {
    const variables = this.#states.get(id) ?? new Map<string, StoredVariable>();
    this.#states.set(id, variables);
    return variables;
  }
}

const toHost = (dtype: HostValue["dtype"], data: Float64Array): TensorData => new (hostArray(dtype))(data);
