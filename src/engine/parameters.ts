import { type HostValue, Parameter, type Tensor, topological } from "../tensor/index.ts";
import type { Engine, State } from "./engine.ts";
import { ProgramError } from "./program.ts";

/** Where parameters have their values: one state for each engine. */
const states = new WeakMap<Engine, State>();

/** What a parameter's newest value is: which engine has it, and which of the values set from outside it goes back to. */
const homes = new WeakMap<Parameter, { engine: Engine; version: number }>();

/** The state of an engine in which parameters live. */
export function parameterState(engine: Engine): State {
  const state = states.get(engine) ?? engine.createState();
  states.set(engine, state);
  return state;
}

/** The parameters that some tensors depend on. */
export function parametersOf(tensors: readonly Tensor[]): Parameter[] {
  return topological(tensors).filter((t) => t instanceof Parameter);
}

/**
 * See that parameters have their values on an engine: those that were set since the last run, and those that ran elsewhere.
 * @throws ProgramError when one has no value yet
 */
export async function settleParameters(engine: Engine, parameters: Iterable<Parameter>): Promise<void> {
  const values: Record<string, HostValue> = {};
  for (const parameter of parameters) {
    const { name } = parameter.attributes;
    const home = homes.get(parameter);
    const current = home !== undefined && !home.engine.closed && home.version === parameter.version;
    if (current && home.engine === engine) continue;
    if (current) {
      Object.assign(values, await parameterState(home.engine).read([name]));
    } else if (parameter.pending) {
      values[name] = parameter.pending;
    } else {
      throw new ProgramError(
        `The parameter ${parameter.title} has no value yet: draw the first values by model.initialize(seed), or give it one by set().`,
      );
    }
    homes.set(parameter, { engine, version: parameter.version });
  }
  if (Object.keys(values).length > 0) await parameterState(engine).write(values);
}
