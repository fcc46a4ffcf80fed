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

/** What a program's function may return. */
type ProgramResult = Tensor | readonly Tensor[] | Readonly<Record<string, Tensor>> | undefined;

/** An argument of a program: a tensor, a number, nested arrays, or typed values with their shape. */
export type ProgramArgument = Tensor | Parameters<typeof tensor>[0] | HostValue;

/** Options of {@link program}. */
export interface ProgramOptions extends EngineOptions {
  /** Name for messages, and for the run that an optimizer starts. Default: the function's name. */
  name?: string;
  /** Engine to run on. Default: the shared engine of `device`. */
  engine?: Engine;
}

/** A compiled function. */
export interface ProgramFunction<A extends readonly Tensor[], R> {
  (...args: { [K in keyof A]: ProgramArgument }): Promise<R>;
  /** Number of compilations: one for each combination of shapes. */
  readonly compilations: number;
  /** Frees the compiled programs. */
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
  /** Converts the outputs to the form that the function returned. */
  readonly restore: (outputs: Readonly<Record<string, Tensor>>) => ProgramResult;
  readonly outputs: Readonly<Record<string, Tensor>>;
}

/**
 * Compiles a function of tensors into a program. The function is called once to build the graph; calls then only run the
 * compiled program. Arguments of new shapes compile it again, which is reported on stderr. Parameters keep their values
 * on the device; assignments by `assign` and optimizers take effect after each run.
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
    const candidates = compiled.get(key) ?? [];
    for (const candidate of candidates) {
      const { recording } = await candidate;
      if (recording.conditions.every(({ read, value }) => Object.is(read(), value))) return candidate;
    }
    if (!shapes.includes(key)) {
      shapes.push(key);
      if (shapes.length > 1) announce(name, shapes);
    }
    const next = compile(name, fn as unknown as (...args: Tensor[]) => unknown, signature, engine as Engine);
    compiled.set(key, [...candidates, next]);
    // A failure is reported to the caller; the next call compiles again.
    next.catch(() =>
      compiled.set(
        key,
        (compiled.get(key) ?? []).filter((entry) => entry !== next),
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
    const observed = hostValues(Object.fromEntries(recording.observed), results, observedPrefix);
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

/** Prefix of outputs for listeners only. */
const observedPrefix = "observed: ";

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
    throw new ProgramError(`${name}: the function must build its graph synchronously, but it returned a promise.`);
  }
  const { outputs, restore } = toOutputs(name, result);
  const observed = Object.fromEntries(
    [...recording.observed].map(([key, value]) => [`${observedPrefix}${key}`, value]),
  );
  const all = { ...outputs, ...observed };
  const parameters = parametersOf([...Object.values(all), ...recording.updates.values()]);
  const updates = [...recording.updates].map(([parameter, value]) => [parameter.attributes.name, value]);
  const loaded = await engine.compile({ name, outputs: all, updates: Object.fromEntries(updates) });
  const written = [...new Set([...parameters, ...recording.updates.keys()])];
  return { program: loaded, recording, parameters: written, restore, outputs };
}

/** Converts a function's result to named outputs, and returns a function to convert back. */
function toOutputs(name: string, result: unknown): Pick<Compiled, "outputs" | "restore"> {
  if (result === undefined) return { outputs: {}, restore: () => undefined };
  if (result instanceof Tensor) return { outputs: { loss: result }, restore: ({ loss }) => loss };
  const entries: [string, Tensor][] = Object.entries(Object(result)).map(([key, value]) => {
    if (value instanceof Tensor) return [key, value];
    throw new ProgramError(
      `${name}: a program must return tensors, but ${key} is ${value === null ? "null" : typeof value}.`,
    );
  });
  if (entries.length === 0) throw new ProgramError(`${name}: a program must return tensors, not ${typeof result}.`);
  return {
    outputs: Object.fromEntries(entries),
    restore: (outputs) => (Array.isArray(result) ? entries.map(([key]) => outputs[key]) : outputs),
  };
}

/** Cached values of argument tensors that had to be computed. */
const computed = new WeakMap<Tensor, Promise<TensorData>>();

async function toHost(argument: ProgramArgument): Promise<HostValue> {
  const value = isHostValue(argument) ? tensor(argument.data, argument.shape, argument.dtype) : argument;
  const argumentTensor = value instanceof Tensor ? value : tensor(value);
  const { data } = argumentTensor.attributes as { data?: TensorData };
  if (data) return { dtype: argumentTensor.dtype, shape: argumentTensor.shape, data };
  return {
    dtype: argumentTensor.dtype,
    shape: argumentTensor.shape,
    data: await (computed.get(argumentTensor) ?? compute(argumentTensor)),
  };
}

function compute(argumentTensor: Tensor): Promise<TensorData> {
  const values = argumentTensor.data();
  // Values that depend on parameters change with them; failed computations are retried.
  if (parametersOf([argumentTensor]).length === 0) {
    computed.set(argumentTensor, values);
    values.catch(() => computed.delete(argumentTensor));
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
    `${name}: compiled again for ${now} (before: ${before}), ${shapes.length} shapes so far${advice}.\n`,
  );
}
