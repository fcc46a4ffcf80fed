import {
  type DType,
  type HostValue,
  input,
  type Parameter,
  type Recording,
  record,
  type Shape,
  showShape,
  Tensor,
  type TensorData,
  tensor,
} from "../tensor/index.ts";
import { deviceTags } from "./device.ts";
import { type CompiledProgram, type Engine, type EngineOptions, sharedEngine } from "./engine.ts";
import { parameterState, parametersOf, settleParameters } from "./parameters.ts";
import { ProgramError } from "./program.ts";

/** What a program's function may give back. */
type ProgramResult = Tensor | readonly Tensor[] | Readonly<Record<string, Tensor>> | undefined;

/** What may be handed in for a tensor: one, a number, nested arrays, or typed values with their shape. */
export type ProgramArgument = Tensor | Parameters<typeof tensor>[0] | HostValue;

/** Options of {@link program}. */
export interface ProgramOptions extends EngineOptions {
  /** What to call it in messages, and the run of a training that it makes up. The function's name when left out. */
  name?: string;
  /** Where to run; the shared engine of `device` when left out. */
  engine?: Engine;
}

/** A function that runs as one compiled program. */
export interface ProgramFunction<A extends readonly Tensor[], R> {
  (...args: { [K in keyof A]: ProgramArgument }): Promise<R>;
  /** How many times it was compiled: once for each combination of shapes. */
  readonly compilations: number;
  /** Free what was compiled. */
  release(): Promise<void>;
}

interface Signature {
  readonly dtype: DType;
  readonly shape: Shape;
}

interface Compiled {
  readonly program: CompiledProgram;
  readonly recording: Recording;
  readonly parameters: readonly Parameter[];
  /** Puts the outputs into the form that the function gave them in. */
  readonly restore: (outputs: Readonly<Record<string, Tensor>>) => ProgramResult;
  readonly outputs: Readonly<Record<string, Tensor>>;
}

/**
 * Make one program of a function of tensors: it is called once to build the graph, compiled, and from then on only run.
 * Other shapes are compiled anew, which it says. Parameters keep their values on the device; what `assign` and optimizers
 * change inside takes effect after each run.
 *
 * @example
 * const step = program((x: Tensor, y: Tensor) => {
 *   const loss = crossEntropy(model.forward(x), y).mean();
 *   optimizer.minimize(loss, model);
 *   return { loss };
 * });
 * const { loss } = await step(images, labels);
 * console.log(loss.item());
 */
export function program<A extends readonly Tensor[], R>(
  fn: (...args: A) => R,
  options: ProgramOptions = {},
): ProgramFunction<A, R> {
  const name = options.name ?? (fn.name || "a program");
  const compiled = new Map<string, Promise<Compiled>[]>();
  const shapes: string[] = [];
  let engine: Engine | undefined;

  const find = async (signature: readonly Signature[]): Promise<Compiled> => {
    const key = signature.map(({ dtype, shape }) => `${dtype} ${showShape(shape)}`).join(", ");
    const known = compiled.get(key) ?? [];
    for (const candidate of known) {
      const { recording } = await candidate;
      if (recording.conditions.every(({ read, value }) => Object.is(read(), value))) return candidate;
    }
    if (!shapes.includes(key)) {
      shapes.push(key);
      if (shapes.length > 1) announce(name, shapes);
    }
    const next = compile(name, fn as unknown as (...args: Tensor[]) => unknown, signature, engine as Engine);
    compiled.set(key, [...known, next]);
    // A failure is told to who called, and tried anew by the next.
    next.catch(() =>
      compiled.set(
        key,
        (compiled.get(key) ?? []).filter((one) => one !== next),
      ),
    );
    return next;
  };

  const call = async (...args: ProgramArgument[]): Promise<R> => {
    const opened = options.engine ?? (await sharedEngine(options));
    if (engine !== opened) {
      engine = opened;
      compiled.clear();
    }
    const values = await Promise.all(args.map(toHost));
    const { program: loaded, recording, parameters, restore, outputs } = await find(values);
    for (const guard of recording.guards) guard();
    await settleParameters(engine, parameters);
    const inputs = Object.fromEntries(values.map(({ data }, i) => [`argument ${i}`, data]));
    const results = await loaded.run(inputs, parameterState(engine));
    const host = hostValues(outputs, results, "");
    const observed = hostValues(Object.fromEntries(recording.observed), results, watched);
    const run = { name: options.name, outputs: host, observed, device: deviceTags(engine.device) };
    for (const listener of recording.listeners) listener(run);
    const tensors = Object.entries(host).map(([key, { data, shape, dtype }]) => [key, tensor(data, shape, dtype)]);
    return restore(Object.fromEntries(tensors)) as R;
  };

  return Object.defineProperties(call, {
    compilations: { get: () => [...compiled.values()].reduce((sum, list) => sum + list.length, 0) },
    release: {
      value: async () => {
        const all = [...compiled.values()].flat();
        compiled.clear();
        for (const one of all) await (await one).program.release();
      },
    },
  }) as unknown as ProgramFunction<A, R>;
}

/** Stands before the names of outputs that only listeners see. */
const watched = "observed: ";

function hostValues(
  tensors: Readonly<Record<string, Tensor>>,
  results: Readonly<Record<string, TensorData>>,
  prefix: string,
): Record<string, HostValue> {
  return Object.fromEntries(
    Object.entries(tensors).map(([key, { dtype, shape }]) => [key, { dtype, shape, data: results[prefix + key] }]),
  );
}

async function compile(
  name: string,
  fn: (...args: Tensor[]) => unknown,
  signature: readonly Signature[],
  engine: Engine,
): Promise<Compiled> {
  const args = signature.map(({ dtype, shape }, i) => input(`argument ${i}`, shape, dtype));
  const { result, recording } = record(() => fn(...args));
  if (result instanceof Promise) {
    throw new ProgramError(`${name}: the function must build its graph at once; it is async, and gave a promise.`);
  }
  const { outputs, restore } = unfold(name, result);
  const observed = Object.fromEntries([...recording.observed].map(([key, value]) => [`${watched}${key}`, value]));
  const all = { ...outputs, ...observed };
  const parameters = parametersOf([...Object.values(all), ...recording.updates.values()]);
  const updates = [...recording.updates].map(([parameter, value]) => [parameter.attributes.name, value]);
  const loaded = await engine.compile({ name, outputs: all, updates: Object.fromEntries(updates) });
  const written = [...new Set([...parameters, ...recording.updates.keys()])];
  return { program: loaded, recording, parameters: written, restore, outputs };
}

/** A function's result as named outputs, and the way back. */
function unfold(name: string, result: unknown): Pick<Compiled, "outputs" | "restore"> {
  if (result === undefined) return { outputs: {}, restore: () => undefined };
  if (result instanceof Tensor) return { outputs: { loss: result }, restore: ({ loss }) => loss };
  const entries: [string, Tensor][] = Object.entries(Object(result)).map(([key, value]) => {
    if (value instanceof Tensor) return [key, value];
    throw new ProgramError(
      `${name}: a program gives back tensors; ${key} is ${value === null ? "null" : typeof value}.`,
    );
  });
  if (entries.length === 0) throw new ProgramError(`${name}: a program gives back tensors, not ${typeof result}.`);
  return {
    outputs: Object.fromEntries(entries),
    restore: (outputs) => (Array.isArray(result) ? entries.map(([key]) => outputs[key]) : outputs),
  };
}

/** Values of tensors that were handed in before they were computed: they do not change, and are computed once. */
const computed = new WeakMap<Tensor, Promise<TensorData>>();

async function toHost(argument: ProgramArgument): Promise<HostValue> {
  const value = isHostValue(argument) ? tensor(argument.data, argument.shape, argument.dtype) : argument;
  const given = value instanceof Tensor ? value : tensor(value);
  const { data } = given.attributes as { data?: TensorData };
  if (data) return { dtype: given.dtype, shape: given.shape, data };
  return { dtype: given.dtype, shape: given.shape, data: await (computed.get(given) ?? compute(given)) };
}

function compute(given: Tensor): Promise<TensorData> {
  const values = given.data();
  // What depends on a parameter changes with it; what could not be computed is tried anew.
  if (parametersOf([given]).length === 0) {
    computed.set(given, values);
    values.catch(() => computed.delete(given));
  }
  return values;
}

function isHostValue(argument: ProgramArgument): argument is HostValue {
  return typeof argument === "object" && "dtype" in argument && !(argument instanceof Tensor);
}

function announce(name: string, shapes: readonly string[]): void {
  const [before, now] = shapes.slice(-2);
  const advice = shapes.length > 4 ? "; pad inputs to a few fixed shapes to compile less often" : "";
  process.stderr.write(
    `${name}: compiled anew for ${now} (before: ${before}), ${shapes.length} shapes so far${advice}.\n`,
  );
}
