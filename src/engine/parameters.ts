import { type HostValue, hostArray, Parameter, type Tensor, topological } from "../tensor/index.ts";
import { defaultEngine, type Engine, type State } from "./engine.ts";
import { ProgramError } from "./program.ts";

/** Where parameters have their values: one state for each engine. */
const states = new WeakMap<Engine, State>();

/** Where a parameter's newest value is: on which engine, and which of the values set from outside it goes back to. */
interface Home {
  readonly engine: Engine;
  readonly version: number;
}

const homes = new WeakMap<Parameter, Home>();

/** Variables of parameters that nobody holds any more are freed on the device. */
const forgotten = new FinalizationRegistry<{ name: string; engines: Set<WeakRef<Engine>> }>(({ name, engines }) => {
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
    if (![...engines].some((known) => known.deref() === engine)) engines.add(new WeakRef(engine));
    return;
  }
  const first = new Set([new WeakRef(engine)]);
  tracked.set(parameter, first);
  forgotten.register(parameter, { name: parameter.attributes.name, engines: first });
}

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

/** The engine that has a parameter's newest value; undefined when none has. */
export function homeOf(parameter: Parameter): Engine | undefined {
  const home = homes.get(parameter);
  return home && !home.engine.closed && home.version === parameter.version ? home.engine : undefined;
}

/**
 * See that parameters have their values on an engine: those that were set since the last run, and those that ran
 * elsewhere. One tensor is moved at a time, and what the device has is not kept on the host.
 * @throws ProgramError when one has no value
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
      // Its memory goes to the device when it is an array of its own.
      const { data } = parameter.pending;
      const transfer = data.byteLength === data.buffer.byteLength;
      const written = parameterState(engine).write({ [name]: parameter.pending }, { transfer });
      parameter.settled();
      setHome(parameter, engine);
      await written;
      continue;
    } else if (homes.has(parameter)) {
      throw new ProgramError(
        `The value of ${parameter.title} is gone with the device that held it: load the model again.`,
      );
    } else {
      throw new ProgramError(
        `The parameter ${parameter.title} has no value yet: draw the first values by model.initialize(seed), or give it one by set().`,
      );
    }
    setHome(parameter, engine);
  }
}

/**
 * Read parameters where they are, one request a device.
 * @param options.raw 16-bit floats as their bits (`Uint16Array`)
 * @throws ProgramError when one has no value
 */
export async function readParameters(
  parameters: readonly Parameter[],
  options: { raw?: boolean } = {},
): Promise<HostValue[]> {
  const values: HostValue[] = [];
  for (const parameter of parameters) {
    // A value that is on no device yet is read where it is.
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

/** Free parameters on their devices. They have no value afterwards. */
export async function releaseParameters(parameters: Iterable<Parameter>): Promise<void> {
  for (const parameter of parameters) {
    const home = homeOf(parameter);
    homes.delete(parameter);
    parameter.settled();
    if (home) await parameterState(home).remove([parameter.attributes.name]);
  }
}
