import { init, Module } from "../../nn/index.ts";
import {
  activeRecording,
  assign,
  div,
  grad,
  type HostValue,
  input,
  minimum,
  type Parameter,
  type ProgramRun,
  parameter,
  readCondition,
  type Shape,
  ShapeError,
  type Tensor,
  type TensorData,
  where,
} from "../../tensor/index.ts";

/** What every optimizer takes. */
export interface OptimizerOptions {
  /** A number, or a function of the steps done so far. */
  learningRate?: number | ((step: number) => number);
  /** Matrices shrink by this times the learning rate at each step; vectors (biases, norms) do not. */
  weightDecay?: number;
  /** Gradients are scaled down to this global norm. Default Infinity: never. */
  maxGradNorm?: number;
}

/** One parameter's new value, and those of what is kept for it. */
export interface Updated {
  value: Tensor;
  slots: Record<string, Tensor>;
}

/** Builds the update of one parameter. */
export type Updater = (
  value: Tensor,
  gradient: Tensor,
  slots: Readonly<Record<string, Tensor>>,
  name: string,
) => Updated;

/** A step that {@link Optimizer.minimize} made. */
export interface OptimizerStep {
  optimizer: Optimizer;
  /** What was trained. */
  parameters: readonly Parameter[];
  learningRate: number;
  run: ProgramRun;
}

/** Hears of the steps of optimizers. */
export interface StepListener {
  /** Called before a step; throws to call it off. */
  before(optimizer: Optimizer): void;
  /** Called after a step; may throw to end the training. */
  after(step: OptimizerStep): void;
}

/**
 * Changes parameters along their gradients. All of a step is graph: it runs with the forward and backward pass as one
 * program, and what it keeps for a parameter (a moment, a momentum) stays on the device.
 */
export abstract class Optimizer {
  /** As it is logged. */
  abstract readonly name: string;
  learningRate: number | ((step: number) => number);
  readonly weightDecay: number;
  readonly maxGradNorm: number;
  /** Steps done by {@link minimize}. */
  steps = 0;
  /** Hears of each step of this optimizer; the one that logs to the active run when left out. */
  listener: StepListener | undefined;
  /** Hears of the steps of optimizers that have no listener of their own. */
  static listener: StepListener | undefined;
  readonly #kept = new Map<Parameter, Record<string, Parameter>>();
  readonly #gradients = new Map<Parameter, Parameter>();
  /** Micro-batches whose gradients wait for the next step. */
  #waiting = 0;
  readonly #inputs = new Map<string, Tensor>();
  readonly #id = count++;

  constructor(
    { learningRate, weightDecay = 0, maxGradNorm = Number.POSITIVE_INFINITY }: OptimizerOptions,
    usual: number,
  ) {
    this.learningRate = learningRate ?? usual;
    this.weightDecay = weightDecay;
    this.maxGradNorm = maxGradNorm;
    if (typeof this.learningRate === "number") checkRange("learningRate", this.learningRate, 0, Number.MAX_VALUE);
    checkRange("weightDecay", weightDecay, 0, Number.MAX_VALUE);
    if (!(maxGradNorm > 0)) throw new RangeError(`maxGradNorm must be above 0, not ${maxGradNorm}`);
  }

  /** Shapes of what is kept for a parameter of this shape, by name; all of it starts at zero. */
  abstract slots(shape: Shape, name: string): Record<string, Shape>;

  /** Numbers that a step needs besides the learning rate. */
  scalars(_step: number): Record<string, number> {
    return {};
  }

  /** Everything that makes it what it is, for the log. */
  abstract get settings(): Record<string, number | string | boolean>;

  /** @param scalars the learning rate and {@link scalars}, each a float32 scalar */
  abstract updater(scalars: Readonly<Record<string, Tensor>>): Updater;

  /** The learning rate of a step, from 0. */
  rateAt(step: number): number {
    return typeof this.learningRate === "number" ? this.learningRate : this.learningRate(step);
  }

  /**
   * Inside of a {@link program}: change the parameters at each run so that the loss falls. The step is logged to the
   * active run; with none, one is started, and ends with the cell. Of a module, parameters with `requiresGrad` are trained.
   * A step whose gradients are not finite changes nothing.
   * @param target a module, or parameters
   */
  minimize(loss: Tensor, target: Module | readonly Parameter[]): void {
    const { recording, parameters } = this.#open("minimize", target);
    const sum = this.#added(parameters, grad(loss, parameters));
    const gradNorm = globalNorm(sum);
    this.#update(parameters, sum, gradNorm);
    recording.observed.set("loss", loss).set("gradNorm", gradNorm);
    recording.guards.push(() => (this.listener ?? Optimizer.listener)?.before(this));
    recording.listeners.push((run) => {
      const learningRate = this.rateAt(this.steps);
      this.#waiting = 0;
      if (Number.isFinite(run.observed.gradNorm.data[0])) this.steps++;
      (this.listener ?? Optimizer.listener)?.after({ optimizer: this, parameters, learningRate, run });
    });
  }

  /**
   * Inside of a {@link program}: add the gradients of a micro-batch to those that wait for the next {@link minimize}, which
   * adds its own and takes one step with the sum (gradient accumulation).
   *
   * @example
   * const add = program((x: Tensor, y: Tensor) => optimizer.accumulate(lossOf(x, y).div(2), model));
   * const step = program((x: Tensor, y: Tensor) => optimizer.minimize(lossOf(x, y).div(2), model));
   * await add(...first);
   * await step(...second);
   */
  accumulate(loss: Tensor, target: Module | readonly Parameter[]): void {
    const { recording, parameters } = this.#open("accumulate", target);
    const gradients = grad(loss, parameters);
    const keep = this.#input("waiting gradients", "bool", () => Uint8Array.of(this.#waiting > 0 ? 1 : 0));
    for (const [i, value] of parameters.entries()) {
      const holder = this.#gradients.get(value) ?? zeros(value.shape);
      this.#gradients.set(value, holder);
      assign(holder, where(keep, holder, 0).add(gradients[i]));
    }
    recording.listeners.push(() => {
      this.#waiting++;
    });
  }

  /** Build the new values of parameters, and of what is kept for them. */
  #update(parameters: readonly Parameter[], gradients: readonly Tensor[], gradNorm: Tensor): void {
    // Every update depends on the norm, hence on every gradient: all readers of a parameter have finished before it
    // changes, and it may change where it lies.
    const max = Number.isFinite(this.maxGradNorm) ? this.maxGradNorm : 1e30;
    const clip = minimum(1, div(max, gradNorm.add(1e-6)));
    const finite = gradNorm.less(Number.POSITIVE_INFINITY);
    const update = this.updater(this.#fed());
    for (const [i, value] of parameters.entries()) {
      const slots = this.#keep(value);
      const updated = update(value, gradients[i].mul(clip), slots, value.title);
      for (const [slot, holder] of Object.entries(slots)) assign(holder, where(finite, updated.slots[slot], holder));
      assign(value, where(finite, updated.value, value));
    }
  }

  /**
   * Inside of a {@link program}: the global norm of the gradients that wait.
   * @throws ShapeError when none wait
   */
  waitingNorm(parameters: readonly Parameter[]): Tensor {
    return globalNorm(this.#waitingOf(parameters));
  }

  /**
   * Inside of a {@link program}: change some parameters by the gradients that wait, as one part of a step that is taken in
   * parts. {@link Optimizer.finishStep} ends the step.
   * @param gradNorm float32 scalar, of the gradients of all parts
   */
  applyWaiting(parameters: readonly Parameter[], gradNorm: Tensor): void {
    this.#update(parameters, this.#waitingOf(parameters), gradNorm);
  }

  /** End a step that was taken in parts: no gradients wait any more. */
  finishStep(gradNorm: number): void {
    this.#waiting = 0;
    if (Number.isFinite(gradNorm)) this.steps++;
  }

  /** What is kept for a parameter, by slot. */
  slotsOf(value: Parameter): Readonly<Record<string, Parameter>> {
    return this.#keep(value);
  }

  #waitingOf(parameters: readonly Parameter[]): Parameter[] {
    return parameters.map((value) => {
      const holder = this.#gradients.get(value);
      if (holder) return holder;
      throw new ShapeError(`No gradient of ${value.title} waits: run a program with accumulate first`);
    });
  }

  /** The gradients of this run, with those that wait. */
  #added(parameters: readonly Parameter[], gradients: readonly Tensor[]): readonly Tensor[] {
    if (!readCondition(() => this.#waiting > 0)) return gradients;
    return parameters.map((value, i) => {
      const holder = this.#gradients.get(value);
      return holder ? gradients[i].add(holder) : gradients[i];
    });
  }

  /**
   * What is kept for the parameters, by the parameter's name and the slot's: for a checkpoint.
   */
  stateParameters(): Map<string, Parameter> {
    const found = new Map<string, Parameter>();
    for (const [value, slots] of this.#kept) {
      for (const [slot, holder] of Object.entries(slots)) found.set(`${slot}.${value.title}`, holder);
    }
    return found;
  }

  /**
   * Put back what was kept, where a checkpoint left it.
   * @param steps how many steps were done
   * @throws ShapeError when something is missing or of another shape
   */
  loadState(parameters: readonly Parameter[], values: Readonly<Record<string, HostValue>>, steps: number): void {
    for (const value of parameters) {
      for (const [slot, holder] of Object.entries(this.#keep(value))) {
        const given = values[`${slot}.${value.title}`];
        if (!given) throw new ShapeError(`The optimizer's ${slot} of ${value.title} is missing.`);
        holder.set(given.data);
      }
    }
    this.steps = steps;
  }

  /** Begin anew: forget the steps and what was kept. Returns the parameters that held it, to be freed on the device. */
  reset(): Parameter[] {
    const held = [...[...this.#kept.values()].flatMap((slots) => Object.values(slots)), ...this.#gradients.values()];
    this.#kept.clear();
    this.#gradients.clear();
    this.#waiting = 0;
    this.steps = 0;
    return held;
  }

  #open(what: string, target: Module | readonly Parameter[]) {
    const recording = activeRecording();
    if (!recording) {
      throw new ShapeError(
        `${what}: works only inside of a program: program((x, y) => { ...; optimizer.${what}(loss, model); })`,
      );
    }
    const all = target instanceof Module ? target.parameters() : target;
    const parameters = all.filter(({ requiresGrad }) => requiresGrad);
    if (parameters.length === 0) throw new ShapeError(`${what}: the model has no parameters to train`);
    const half = parameters.find(({ dtype }) => dtype !== "float32");
    if (half) {
      throw new ShapeError(
        `${what}: ${half.title} is ${half.dtype}; only float32 parameters are trained. Load the model with dtype: "float32", or train an adapter.`,
      );
    }
    return { recording, parameters };
  }

  /** Scalars that each run takes from here by itself. */
  #fed(): Record<string, Tensor> {
    const keys = Object.keys({ learningRate: 0, ...this.scalars(0) });
    const values = (): Record<string, number> => ({
      learningRate: this.rateAt(this.steps),
      ...this.scalars(this.steps),
    });
    return Object.fromEntries(
      keys.map((key) => [key, this.#input(key, "float32", () => Float32Array.of(values()[key]))]),
    );
  }

  #input(key: string, dtype: "float32" | "bool", source: () => TensorData): Tensor {
    const known = this.#inputs.get(key) ?? input(`${key} of ${this.name} ${this.#id}`, [], dtype, source);
    this.#inputs.set(key, known);
    return known;
  }

  #keep(value: Parameter): Record<string, Parameter> {
    const known = this.#kept.get(value);
    if (known) return known;
    const slots = Object.entries(this.slots(value.shape, value.title));
    const kept = Object.fromEntries(slots.map(([slot, shape]) => [slot, zeros(shape)]));
    this.#kept.set(value, kept);
    return kept;
  }
}

function globalNorm(gradients: readonly Tensor[]): Tensor {
  const squares = gradients.map((gradient) => gradient.mul(gradient).sum());
  return squares.reduce((total, square) => total.add(square)).sqrt();
}

/** A parameter that no optimizer changes by itself, zero at first. */
function zeros(shape: Shape): Parameter {
  const holder = parameter(shape, init.constant(0), { requiresGrad: false });
  holder.give(new Float32Array(holder.size));
  return holder;
}

let count = 0;

/** @throws RangeError when a setting lies outside of [low, high] */
export function checkRange(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value <= high)) throw new RangeError(`${name} must be from ${low} to ${high}, not ${value}`);
}

/** A matrix shrunk by the weight decay; vectors stay. */
export function decayed(value: Tensor, factor: Tensor, weightDecay: number): Tensor {
  return value.shape.length > 1 && weightDecay > 0 ? value.mul(factor) : value;
}
