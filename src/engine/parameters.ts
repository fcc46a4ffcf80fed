import { type HostValue, hostArray, Parameter, type Tensor, topological } from "../tensor/index.ts";
import { defaultEngine, type Engine, type State } from "./engine.ts";
import { ProgramError } from "./program.ts";

/** States with the parameters' values, one per engine. */
const states = new WeakMap<Engine, State>();

/** Location of a parameter's newest value: its engine, and the version that was set from the host. */
interface Home {
  readonly engine: Engine;
  readonly version: number;
}

const homes = new WeakMap<Parameter, Home>();

/** Frees the variables of parameters that were garbage collected. */
const finalizers = new FinalizationRegistry<{ name: string; engines: Set<WeakRef<Engine>> }>(({ name, engines }) => {
  for (const reference of engines) {
    const engine = reference.deref();
    if (engine && !engine.closed)
      parameterState(engine)
        .remove([name])
        .catch(() => undefined);
  }
});
const tracked = new WeakMap<Parameter, Set<WeakRef<Engine>>>();

function setHome(parameter: Parameter, engine: Engine): void {
  homes.set(parameter, { engine, version: parameter.version });
  const engines = tracked.get(parameter);
  if (engines) {
    if (![...engines].some((reference) => reference.deref() === engine)) engines.add(new WeakRef(engine));
    return;
  }
  const first = new Set([new WeakRef(engine)]);
  tracked.set(parameter, first);
  finalizers.register(parameter, { name: parameter.attributes.name, engines: first });
}

/** Returns the state of an engine that contains its parameters. */
export function parameterState(engine: Engine): State {
  const state = states.get(engine) ?? engine.createState();
  states.set(engine, state);
  return state;
}

/** Returns the parameters that tensors depend on. */
export function parametersOf(tensors: readonly Tensor[]): Parameter[] {
  return topological(tensors).filter((t) => t instanceof Parameter);
}

/** Returns the engine that has a parameter's newest value, if any. */
export function homeOf(parameter: Parameter): Engine | undefined {
  const home = homes.get(parameter);
  return home && !home.engine.closed && home.version === parameter.version ? home.engine : undefined;
}

/**
 * Moves the values of parameters to an engine: those set since the last run, and those on other engines. Moves one tensor at
 * a time, and keeps no copies on the host.
 * @throws ProgramError when a parameter has no value
 */
export async function settleParameters(engine: Engine, parameters: Iterable<Parameter>): Promise<void> {
  for (const parameter of parameters) {
    const home = homeOf(parameter);
    if (home === engine) continue;
    const { name } = parameter.attributes;
    if (home) {
      const values = await parameterState(home).read([name], { raw: true });
      await parameterState(engine).write(values, { transfer: true });
      await parameterState(home).remove([name]);
    } else if (parameter.pending) {
      // Transfers the buffer unless the array is a view of a part of it.
      const { data } = parameter.pending;
      const transfer = data.byteLength === data.buffer.byteLength;
      const written = parameterState(engine).write({ [name]: parameter.pending }, { transfer });
      parameter.settled();
      setHome(parameter, engine);
      await written;
      continue;
    } else if (homes.has(parameter)) {
      throw new ProgramError(
        `The value of ${parameter.title} was lost with the device that held it: load the model again.`,
      );
    } else {
      throw new ProgramError(
        `The parameter ${parameter.title} has no value: call model.initialize(seed), or set() on the parameter.`,
      );
    }
    setHome(parameter, engine);
  }
}

/**
 * Reads parameters from their engines.
 * @param options.raw return 16-bit floats as their bits (`Uint16Array`)
 * @throws ProgramError when a parameter has no value
 */
export async function readParameters(
  parameters: readonly Parameter[],
  options: { raw?: boolean } = {},
): Promise<HostValue[]> {
  const values: HostValue[] = [];
  for (const parameter of parameters) {
    // A value that is on no device yet is read from the host.
    if (parameter.pending && !homeOf(parameter) && parameter.pending.data instanceof hostArray(parameter.dtype)) {
      values.push({ ...parameter.pending, data: parameter.pending.data.slice() });
      continue;
    }
    const home = homeOf(parameter) ?? (await defaultEngine());
    await settleParameters(home, [parameter]);
    const { name } = parameter.attributes;
    values.push((await parameterState(home).read([name], options))[name]);
  }
  return values;
}

/** Frees parameters on their devices. They have no value afterwards. */
export async function releaseParameters(parameters: Iterable<Parameter>): Promise<void> {
  for (const parameter of parameters) {
    const home = homeOf(parameter);
    homes.delete(parameter);
    parameter.settled();
    if (home) await parameterState(home).remove([parameter.attributes.name]);
  }
}
