import { type HostValue, Parameter, Random, readCondition, ShapeError, showShape, Tensor } from "../tensor/index.ts";

/**
 * Base class of network modules. Parameters and submodules are fields (also in arrays and maps); they are found
 * automatically and named by their path ("layers.0.weight"), as in PyTorch.
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

  /** Builds the graph of the output. Subclasses declare their inputs: one tensor, several, or none. */
  abstract forward(...inputs: never[]): unknown;

  /** Whether dropout is active. Programs that depend on it are rebuilt when it changes. */
  get training(): boolean {
    return readCondition(() => this.#training);
  }

  /** Sets training mode: dropout is active. New modules are in training mode. */
  train(training = true): this {
    for (const module of this.namedModules().values()) module.#training = training;
    return this;
  }

  /** Sets evaluation mode: dropout is inactive. */
  eval(): this {
    return this.train(false);
  }

  /** Returns all modules by name; this module's name is "". */
  namedModules(): Map<string, Module> {
    const modules = new Map<string, Module>();
    visit(this, (value, path) => {
      if (value instanceof Module) modules.set(path, value);
    });
    return modules;
  }

  /** Returns all parameters by name, in the order of the fields. Shared parameters are included once. */
  namedParameters(): Map<string, Parameter> {
    const parameters = new Map<string, Parameter>();
    visit(this, (value, path) => {
      if (!(value instanceof Parameter)) return;
      // Keeps the longest path, that of the whole model, whichever module is asked first.
      if (value.path === undefined || path.endsWith(`.${value.path}`)) value.path = path;
      parameters.set(path, value);
    });
    return parameters;
  }

  /** Returns all parameters. Optimizers update those with `requiresGrad`. */
  parameters(): Parameter[] {
    return [...this.namedParameters().values()];
  }

  /** Counts the values in all parameters, and in those that are trained. */
  countParameters(): { total: number; trainable: number } {
    const count = (parameters: readonly Parameter[]) => parameters.reduce((sum, { size }) => sum + size, 0);
    const all = this.parameters();
    return { total: count(all), trainable: count(all.filter(({ requiresGrad }) => requiresGrad)) };
  }

  /** Sets whether optimizers update the parameters (PyTorch's `requires_grad_`). */
  requiresGrad(value = true): this {
    for (const parameter of this.parameters()) parameter.requiresGrad = value;
    return this;
  }

  /**
   * Initializes all parameters, and seeds dropout. Each parameter has its own random stream, derived from its name, so its
   * values do not depend on the rest of the model.
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
   * Seeds the random numbers that modules use at run time, such as dropout masks.
   * @param seed any safe integer
   * @param runs number of previous runs, when training is resumed
   */
  seedNoise(seed: number, runs = 0): this {
    for (const [name, module] of this.namedModules()) module.onSeed(seed, name, runs);
    return this;
  }

  /** Called with the seed and this module's name. Override it in modules that use random numbers. */
  protected onSeed(_seed: number, _name: string, _runs: number): void {
    // Most modules use no random numbers.
  }

  /** Reads the values of all parameters from the device, by name, in the form that `encodeSafetensors` accepts. */
  async stateDict(): Promise<Record<string, HostValue>> {
    const named = [...this.namedParameters()];
    const values = await Tensor.data(named.map(([, parameter]) => parameter));
    return Object.fromEntries(
      named.map(([name, { dtype, shape }], i): [string, HostValue] => [name, { dtype, shape, data: values[i] }]),
    );
  }

  /**
   * Sets the values of all parameters.
   * @param options.strict false allows missing and unexpected names, and returns them (PyTorch's `strict`)
   * @throws ShapeError when a name is missing or unexpected, or a shape differs; then nothing is changed
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

/** Visits modules and parameters once each, in the order of the fields. */
function visit(root: Module, each: (value: Module | Parameter, path: string) => void): void {
  const visited = new Set<unknown>();
  const walk = (value: unknown, path: string): void => {
    if (typeof value !== "object" || value === null || visited.has(value)) return;
    const join = (key: string) => (path === "" ? key : `${path}.${key}`);
    if (value instanceof Parameter) {
      visited.add(value);
      each(value, path);
    } else if (value instanceof Module || Array.isArray(value)) {
      visited.add(value);
      if (value instanceof Module) each(value, path);
      for (const [key, child] of Object.entries(value)) walk(child, join(key));
    } else if (value instanceof Map) {
      visited.add(value);
      for (const [key, child] of value) walk(child, join(String(key)));
    }
  };
  walk(root, "");
}
