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

/** Options of all optimizers. */
export interface OptimizerOptions {
  /** A number, or a function of the number of finished steps. */
  learningRate?: number | ((step: number) => number);
  /** Each step shrinks matrices by this times the learning rate; vectors (biases, norms) do not decay. */
  weightDecay?: number;
  /** Gradients are clipped to this global norm. Default Infinity: no clipping. */
  maxGradNorm?: number;
}

/** A parameter's new value, and its new optimizer state. */
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

/** A step taken by {@link Optimizer.minimize}. */
export interface OptimizerStep {
  optimizer: Optimizer;
  /** The trained parameters. */
  parameters: readonly Parameter[];
  learningRate: number;
  run: ProgramRun;
}

/** Listens to optimizer steps. */
export interface StepListener {
  /** Called before a step; throws to cancel it. */
  before(optimizer: Optimizer): void;
  /** Called after a step; may throw to end training. */
  after(step: OptimizerStep): void;
}

/**
 * Base class of optimizers. A step is part of the graph: it runs in one program with the forward and backward pass, and
 * its state (moments, momentum) stays on the device.
 */
export abstract class Optimizer {
  /** Name in logs. */
  abstract readonly name: string;
  learningRate: number | ((step: number) => number);
  readonly weightDecay: number;
  readonly maxGradNorm: number;
  /** Number of steps taken by {@link minimize}. */
  steps = 0;
  /** Called for each step of this optimizer. Default: {@link Optimizer.listener}. */
  listener: StepListener | undefined;
  /** Called for steps of optimizers without their own listener. */
  static listener: StepListener | undefined;
  readonly #slots = new Map<Parameter, Record<string, Parameter>>();
  readonly #gradients = new Map<Parameter, Parameter>();
  /** Micro-batches accumulated for the next step. */
  #accumulated = 0;
  readonly #inputs = new Map<string, Tensor>();
  readonly #id = count++;

  constructor(
    { learningRate, weightDecay = 0, maxGradNorm = Number.POSITIVE_INFINITY }: OptimizerOptions,
    defaultRate: number,
  ) {
    this.learningRate = learningRate ?? defaultRate;
    this.weightDecay = weightDecay;
    this.maxGradNorm = maxGradNorm;
    if (typeof this.learningRate === "number") checkRange("learningRate", this.learningRate, 0, Number.MAX_VALUE);
    checkRange("weightDecay", weightDecay, 0, Number.MAX_VALUE);
    if (!(maxGradNorm > 0)) throw new RangeError(`maxGradNorm must be above 0, not ${maxGradNorm}`);
  }

  /** Returns the state's shapes for a parameter of this shape, by name; state is initialized with zeros. */
  abstract slots(shape: Shape, name: string): Record<string, Shape>;

  /** Returns scalars that a step needs besides the learning rate. */
  scalars(_step: number): Record<string, number> {
    return {};
  }

  /** All settings, for the log. */
  abstract get settings(): Record<string, number | string | boolean>;

  /** @param scalars the learning rate and {@link scalars}, each a float32 scalar */
  abstract updater(scalars: Readonly<Record<string, Tensor>>): Updater;

  /** Returns the learning rate of a step, from 0. */
  rateAt(step: number): number {
    return typeof this.learningRate === "number" ? this.learningRate : this.learningRate(step);
  }

  /**
   * Updates the parameters at each run of the enclosing {@link program} to minimize the loss. The step is logged to the
   * active run; if there is none, one is started that ends with the cell. Of a module, parameters with `requiresGrad` are
   * trained. A step with non-finite gradients changes nothing.
   * @param target a module, or parameters
   */
  minimize(loss: Tensor, target: Module | readonly Parameter[]): void {
    const { recording, parameters } = this.#open("minimize", target);
    const sum = this.#withAccumulated(parameters, grad(loss, parameters));
    const gradNorm = globalNorm(sum);
    this.#update(parameters, sum, gradNorm);
    recording.observed.set("loss", loss).set("gradNorm", gradNorm);
    recording.guards.push(() => (this.listener ?? Optimizer.listener)?.before(this));
    recording.listeners.push((run) => {
      const learningRate = this.rateAt(this.steps);
      this.#accumulated = 0;
      if (Number.isFinite(run.observed.gradNorm.data[0])) this.steps++;
      (this.listener ?? Optimizer.listener)?.after({ optimizer: this, parameters, learningRate, run });
    });
  }

  /**
   * Accumulates the gradients of a micro-batch in the enclosing {@link program}. The next {@link minimize} adds its own
   * gradients and takes one step with the sum.
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
    const keep = this.#input("waiting gradients", "bool", () => Uint8Array.of(this.#accumulated > 0 ? 1 : 0));
    for (const [i, value] of parameters.entries()) {
      const holder = this.#gradients.get(value) ?? zeros(value.shape);
      this.#gradients.set(value, holder);
      assign(holder, where(keep, holder, 0).add(gradients[i]));
    }
    recording.listeners.push(() => {
      this.#accumulated++;
    });
  }

  /** Builds the updates of parameters and their state. */
  #update(parameters: readonly Parameter[], gradients: readonly Tensor[], gradNorm: Tensor): void {
    // Every update depends on the norm, hence on every gradient: all reads of a parameter finish before it changes, so
    // it can be updated in place.
    const max = Number.isFinite(this.maxGradNorm) ? this.maxGradNorm : 1e30;
    const clip = minimum(1, div(max, gradNorm.add(1e-6)));
    const finite = gradNorm.less(Number.POSITIVE_INFINITY);
    const update = this.updater(this.#scalarInputs());
    for (const [i, value] of parameters.entries()) {
      const slots = this.#slotsFor(value);
      const updated = update(value, gradients[i].mul(clip), slots, value.title);
      for (const [slot, holder] of Object.entries(slots)) assign(holder, where(finite, updated.slots[slot], holder));
      assign(value, where(finite, updated.value, value));
    }
  }

  /**
   * Returns the global norm of the accumulated gradients. Call it inside a {@link program}.
   * @throws ShapeError when there are none
   */
  waitingNorm(parameters: readonly Parameter[]): Tensor {
    return globalNorm(this.#accumulatedOf(parameters));
  }

  /**
   * Applies the accumulated gradients to some parameters, as one part of a step. Call it inside a {@link program}.
   * {@link Optimizer.finishStep} ends the step.
   * @param gradNorm float32 scalar: the norm of the gradients of all parts
   */
  applyWaiting(parameters: readonly Parameter[], gradNorm: Tensor): void {
    this.#update(parameters, this.#accumulatedOf(parameters), gradNorm);
  }

  /** Ends a step that was applied in parts, and discards the accumulated gradients. */
  finishStep(gradNorm: number): void {
    this.#accumulated = 0;
    if (Number.isFinite(gradNorm)) this.steps++;
  }

  /** Returns a parameter's optimizer state, by slot. */
  slotsOf(value: Parameter): Readonly<Record<string, Parameter>> {
    return this.#slotsFor(value);
  }

  #accumulatedOf(parameters: readonly Parameter[]): Parameter[] {
    return parameters.map((value) => {
      const holder = this.#gradients.get(value);
      if (holder) return holder;
      throw new ShapeError(`There is no accumulated gradient of ${value.title}: run a program with accumulate first`);
    });
  }

  /** Adds the accumulated gradients to those of this run. */
  #withAccumulated(parameters: readonly Parameter[], gradients: readonly Tensor[]): readonly Tensor[] {
    if (!readCondition(() => this.#accumulated > 0)) return gradients;
    return parameters.map((value, i) => {
      const holder = this.#gradients.get(value);
      return holder ? gradients[i].add(holder) : gradients[i];
    });
  }

  /** Returns the optimizer state for a checkpoint, by slot and parameter name. */
  stateParameters(): Map<string, Parameter> {
    const state = new Map<string, Parameter>();
    for (const [value, slots] of this.#slots) {
      for (const [slot, holder] of Object.entries(slots)) state.set(`${slot}.${value.title}`, holder);
    }
    return state;
  }

  /**
   * Restores the optimizer state of a checkpoint.
   * @param steps number of finished steps
   * @throws ShapeError when a value is missing or has another shape
   */
  loadState(parameters: readonly Parameter[], values: Readonly<Record<string, HostValue>>, steps: number): void {
    for (const value of parameters) {
      for (const [slot, holder] of Object.entries(this.#slotsFor(value))) {
        const stored = values[`${slot}.${value.title}`];
        if (!stored) throw new ShapeError(`The state ${slot} of ${value.title} is missing.`);
        holder.set(stored.data);
      }
    }
    this.steps = steps;
  }

  /** Resets the steps and the state. Returns the parameters that held the state, to be released on the device. */
  reset(): Parameter[] {
    const parameters = [
      ...[...this.#slots.values()].flatMap((slots) => Object.values(slots)),
      ...this.#gradients.values(),
    ];
    this.#slots.clear();
    this.#gradients.clear();
    this.#accumulated = 0;
    this.steps = 0;
    return parameters;
  }

  #open(what: string, target: Module | readonly Parameter[]) {
    const recording = activeRecording();
    if (!recording) {
      throw new ShapeError(
        `${what}: works only inside a program: program((x, y) => { ...; optimizer.${what}(loss, model); })`,
      );
    }
    const all = target instanceof Module ? target.parameters() : target;
    const parameters = all.filter(({ requiresGrad }) => requiresGrad);
    if (parameters.length === 0) throw new ShapeError(`${what}: the model has no trainable parameters`);
    const half = parameters.find(({ dtype }) => dtype !== "float32");
    if (half) {
      throw new ShapeError(
        `${what}: ${half.title} is ${half.dtype}; only float32 parameters can be trained. Load the model with dtype: "float32", or train an adapter.`,
      );
    }
    return { recording, parameters };
  }

  /** Scalar inputs that are read from this optimizer at each run. */
  #scalarInputs(): Record<string, Tensor> {
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
    const scalar = this.#inputs.get(key) ?? input(`${key} of ${this.name} ${this.#id}`, [], dtype, source);
    this.#inputs.set(key, scalar);
    return scalar;
  }

  #slotsFor(value: Parameter): Record<string, Parameter> {
    const existing = this.#slots.get(value);
    if (existing) return existing;
    const slots = Object.entries(this.slots(value.shape, value.title));
    const created = Object.fromEntries(slots.map(([slot, shape]) => [slot, zeros(shape)]));
    this.#slots.set(value, created);
    return created;
  }
}

function globalNorm(gradients: readonly Tensor[]): Tensor {
  const squares = gradients.map((gradient) => gradient.mul(gradient).sum());
  return squares.reduce((total, square) => total.add(square)).sqrt();
}

/** Returns a parameter of zeros that is not trained. */
function zeros(shape: Shape): Parameter {
  const holder = parameter(shape, init.constant(0), { requiresGrad: false });
  holder.give(new Float32Array(holder.size));
  return holder;
}

let count = 0;

/** @throws RangeError when a setting is outside [low, high] */
export function checkRange(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value <= high)) throw new RangeError(`${name} must be from ${low} to ${high}, not ${value}`);
}

/** Applies weight decay to a matrix; vectors do not decay. */
export function decayed(value: Tensor, factor: Tensor, weightDecay: number): Tensor {
  return value.shape.length > 1 && weightDecay > 0 ? value.mul(factor) : value;
}
