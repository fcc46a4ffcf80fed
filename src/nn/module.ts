import { type HostValue, Parameter, Random, readCondition, ShapeError, showShape, Tensor } from "../tensor/index.ts";

/**
 * A part of a network: its parameters and other modules are its fields, found by themselves and named by where they
 * stand ("layers.0.weight").
 *
 * @example
 * class Residual extends Module {
 *   inner = new Linear(64, 64);
 *   forward(x: Tensor) { return x.add(relu(this.inner.forward(x))); }
 * }
 * const model = new Sequential(new Residual(), new Linear(64, 10)).initialize(42);
 */
export abstract class Module {
  #training = true;

  /** Build the graph of the result. */
  abstract forward(x: Tensor): Tensor;

  /** Whether dropout drops. A program that read this is built again when it changes. */
  get training(): boolean {
    return readCondition(() => this.#training);
  }

  /** Behave as in training: dropout drops. So do new modules. */
  train(training = true): this {
    this.#training = training;
    for (const child of children(this)) child.train(training);
    return this;
  }

  /** Behave as in use: dropout lets everything through. */
  eval(): this {
    return this.train(false);
  }

  /** Every parameter by its name, those of shared modules once, in the order of the fields. */
  namedParameters(): Map<string, Parameter> {
    const found = new Map<string, Parameter>();
    const seen = new Set<unknown>();
    const visit = (value: unknown, path: string): void => {
      if (seen.has(value)) return;
      if (value instanceof Parameter) {
        seen.add(value);
        value.path ??= path;
        found.set(path, value);
      } else if (value instanceof Module || Array.isArray(value)) {
        seen.add(value);
        for (const [key, child] of Object.entries(value)) visit(child, path === "" ? key : `${path}.${key}`);
      }
    };
    visit(this, "");
    return found;
  }

  /** The parameters that optimizers change. */
  parameters(): Parameter[] {
    return [...this.namedParameters().values()].filter(({ trainable }) => trainable);
  }

  /** How many numbers are trained. */
  get parameterCount(): number {
    return this.parameters().reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * Draw the first values of all parameters. Each has a stream of its own, named after it: the same seed gives the same
   * values, whatever else the model has.
   * @param seed any safe integer
   */
  initialize(seed: number): this {
    for (const [name, parameter] of this.namedParameters()) {
      parameter.set(parameter.initializer(parameter.shape, new Random(seed, `init/${name}`)));
    }
    return this;
  }

  /** Read the values of all parameters from the device, by name: what `encodeSafetensors` takes. */
  async state(): Promise<Record<string, HostValue>> {
    const named = [...this.namedParameters()];
    const values = await Tensor.data(named.map(([, parameter]) => parameter));
    return Object.fromEntries(
      named.map(([name, { dtype, shape }], i): [string, HostValue] => [name, { dtype, shape, data: values[i] }]),
    );
  }

  /**
   * Replace the values of all parameters.
   * @throws ShapeError when a name is missing or too many, or a shape differs; nothing is changed then
   */
  load(values: Readonly<Record<string, HostValue>>): this {
    const named = this.namedParameters();
    const differing = [
      ...[...named].flatMap(([name, { shape }]) => {
        const given = values[name];
        if (!given) return [`${name} is missing`];
        return showShape(given.shape) === showShape(shape)
          ? []
          : [`${name} is ${showShape(given.shape)}, not ${showShape(shape)}`];
      }),
      ...Object.keys(values).flatMap((name) => (named.has(name) ? [] : [`${name} is not in the model`])),
    ];
    if (differing.length > 0) throw new ShapeError(`load: ${differing.join("; ")}`);
    for (const [name, parameter] of named) parameter.set(values[name].data);
    return this;
  }
}

function children(module: Module): Module[] {
  return Object.values(module)
    .flatMap((value) => (Array.isArray(value) ? value : [value]))
    .filter((value) => value instanceof Module);
}
