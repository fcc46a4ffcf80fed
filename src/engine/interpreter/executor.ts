import { type HostValue, hostArray, type Tensor, type TensorData } from "../../tensor/index.ts";
import type { Executor, Failure } from "../executor.ts";
import type { Program } from "../program.ts";
import { interpret } from "./interpret.ts";

/** A variable's value in double precision. */
interface Held {
  readonly value: HostValue;
  readonly data: Float64Array;
}

/**
 * Runs programs in plain TypeScript and double precision, on the caller's thread. Slow; it says what a program means,
 * and other executors are held against it. Values are rounded to their dtype only when they are read.
 */
export class InterpreterExecutor implements Executor {
  readonly #programs = new Map<number, Program>();
  readonly #states = new Map<number, Map<string, Held>>();

  async compile(id: number, program: Program): Promise<void> {
    this.#programs.set(id, program);
  }

  async unload(id: number): Promise<void> {
    this.#programs.delete(id);
  }

  async run(id: number, state: number | undefined, inputs: Readonly<Record<string, TensorData>>) {
    const program = this.#programs.get(id);
    if (!program) throw new Error("This program has been released.");
    const held = state === undefined ? new Map<string, Held>() : this.#state(state);
    const given = new Map<Tensor, ArrayLike<number>>();
    for (const node of program.inputs) given.set(node, inputs[node.attributes.name]);
    for (const node of program.variables) {
      const found = held.get(node.attributes.name);
      if (!found) throw new Error(`Variable ${node.attributes.name} has no value in this state.`);
      given.set(node, found.data);
    }
    const outputs = Object.entries(program.outputs);
    const updates = Object.entries(program.updates);
    const values = interpret(
      [...outputs, ...updates].map(([, t]) => t),
      given,
    );
    updates.forEach(([name, { dtype, shape }], i) => {
      const data = values[outputs.length + i];
      held.set(name, { value: { dtype, shape, data: toHost(dtype, data) }, data });
    });
    return Object.fromEntries(outputs.map(([name, { dtype }], i) => [name, toHost(dtype, values[i])]));
  }

  async write(state: number, values: Readonly<Record<string, HostValue>>): Promise<void> {
    const held = this.#state(state);
    for (const [name, value] of Object.entries(values)) {
      held.set(name, { value, data: Float64Array.from(value.data) });
    }
  }

  async read(state: number, names: readonly string[] | undefined) {
    const held = this.#state(state);
    return Object.fromEntries(
      [...(names ?? held.keys())].map((name): [string, HostValue] => {
        const found = held.get(name);
        if (!found) throw new Error(`There is no variable ${name}.`);
        return [name, { ...found.value, data: toHost(found.value.dtype, found.data) }];
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
    // It ends only when it is closed.
  }

  async close(): Promise<void> {
    this.#programs.clear();
    this.#states.clear();
  }

  #state(id: number): Map<string, Held> {
    const known = this.#states.get(id) ?? new Map<string, Held>();
    this.#states.set(id, known);
    return known;
  }
}

const toHost = (dtype: HostValue["dtype"], data: Float64Array): TensorData => new (hostArray(dtype))(data);
