import { type HostValue, Parameter, Random, readCondition, ShapeError, showShape, Tensor } from "../tensor/index.ts";

/**
 * A part of a network: its parameters and other modules are its fields (also in arrays and maps), found by themselves and
 * named by where they stand ("layers.0.weight"), as in PyTorch.
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

  /** Build the graph of the result. A module takes what it declares: one tensor, several, or none. */
  abstract forward(...inputs: never[]): unknown;

  /** Whether dropout drops. A program that read this is built again when it changes. */
  get training(): boolean {
    return readCondition(() => this.#training);
  }

  /** Behave as in training: dropout drops. So do new modules. */
  train(training = true): this {
    for (const module of this.namedModules().values()) module.#training = training;
    return this;
  }

  /** Behave as in use: dropout lets everything through. */
  eval(): this {
    return this.train(false);
  }

  /** Every module by its name, this one as "". */
  namedModules(): Map<string, Module> {
    const found = new Map<string, Module>();
    visit(this, (value, path) => {
      if (value instanceof Module) found.set(path, value);
    });
    return found;
  }

  /** Every parameter by its name, those of shared modules once, in the order of the fields. */
  namedParameters(): Map<string, Parameter> {
    const found = new Map<string, Parameter>();
    visit(this, (value, path) => {
      if (!(value instanceof Parameter)) return;
      // The whole model knows the longest name, whichever part was asked first.
      if (value.path === undefined || path.endsWith(`.${value.path}`)) value.path = path;
      found.set(path, value);
    });
    return found;
  }

  /** Every parameter. Optimizers change those with `requiresGrad`. */
  parameters(): Parameter[] {
    return [...this.namedParameters().values()];
  }

  /** How many numbers the parameters hold, and how many of them optimizers change. */
  countParameters(): { total: number; trainable: number } {
    const count = (parameters: readonly Parameter[]) => parameters.reduce((sum, { size }) => sum + size, 0);
    const all = this.parameters();
    return { total: count(all), trainable: count(all.filter(({ requiresGrad }) => requiresGrad)) };
  }

  /** Say of all parameters whether optimizers change them (PyTorch's `requires_grad_`). */
  requiresGrad(value = true): this {
    for (const parameter of this.parameters()) parameter.requiresGrad = value;
    return this;
  }

  /**
   * Draw the first values of all parameters, and seed the noise of dropout. Each has a stream of its own, named after it:
   * the same seed gives the same values, whatever else the model has.
   * @param seed any safe integer
   */
  initialize(seed: number): this {
    for (const [name, parameter] of this.namedParameters()) {
      const values = parameter.initializer(parameter.shape, new Random(seed, `init/${name}`));
      parameter.set(values);
    }
    return this.seedNoise(seed);
  }

  /**
   * Seed the random numbers that the modules draw while they run, such as dropout's.
   * @param seed any safe integer
   * @param runs how many runs have drawn from it already: where a resumed training goes on
   */
  seedNoise(seed: number, runs = 0): this {
    for (const [name, module] of this.namedModules()) module.onSeed(seed, name, runs);
    return this;
  }

  /** Called with the seed and with this module's name. A module that draws random numbers overrides it. */
  protected onSeed(_seed: number, _name: string, _runs: number): void {
    // Most modules draw nothing.
  }

  /** Read the values of all parameters from the device, by name: what `encodeSafetensors` takes. */
  async stateDict(): Promise<Record<string, HostValue>> {
    const named = [...this.namedParameters()];
    const values = await Tensor.data(named.map(([, parameter]) => parameter));
    return Object.fromEntries(
      named.map(([name, { dtype, shape }], i): [string, HostValue] => [name, { dtype, shape, data: values[i] }]),
    );
  }

  /**
   * Replace the values of all parameters.
   * @param options.strict false lets names be missing or too many, and returns them (PyTorch's `strict`)
   * @throws ShapeError when a name is missing or too many, or a shape differs; nothing is changed then
   */
  loadStateDict(
    values: Readonly<Record<string, HostValue>>,
    { strict = true }: { strict?: boolean } = {},
  ): { missing: string[]; unexpected: string[] } {
    const named = this.namedParameters();
    const missing = [...named.keys()].filter((name) => !values[name]);
    const unexpected = Object.keys(values).filter((name) => !named.has(name));
    const differing = [...named].flatMap(([name, { shape }]) =>
      values[name] && showShape(values[name].shape) !== showShape(shape)
        ? [`${name} is ${showShape(values[name].shape)}, not ${showShape(shape)}`]
        : [],
    );
    if (strict) {
      differing.unshift(...missing.map((name) => `${name} is missing`));
      differing.push(...unexpected.map((name) => `${name} is not in the model`));
    }
    if (differing.length > 0) throw new ShapeError(`loadStateDict: ${differing.join("; ")}`);
    for (const [name, parameter] of named) if (values[name]) parameter.set(values[name].data);
    return { missing, unexpected };
  }
}

/** Visit modules and parameters, each once, in the order of the fields. */
function visit(root: Module, each: (value: Module | Parameter, path: string) => void): void {
  const seen = new Set<unknown>();
  const walk = (value: unknown, path: string): void => {
    if (typeof value !== "object" || value === null || seen.has(value)) return;
    const join = (key: string) => (path === "" ? key : `${path}.${key}`);
    if (value instanceof Parameter) {
      seen.add(value);
      each(value, path);
    } else if (value instanceof Module || Array.isArray(value)) {
      seen.add(value);
      if (value instanceof Module) each(value, path);
      for (const [key, child] of Object.entries(value)) walk(child, join(key));
    } else if (value instanceof Map) {
      seen.add(value);
      for (const [key, child] of value) walk(child, join(String(key)));
    }
  };
  walk(root, "");
}
