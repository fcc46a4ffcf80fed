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
  parameter,
  type Shape,
  ShapeError,
  type Tensor,
  variable,
} from "../../tensor/index.ts";
import { checkInterrupt, logStep } from "../loop.ts";

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

/** A parameter as an optimizer sees it. */
export interface Trained {
  name: string;
  value: Tensor;
  gradient: Tensor;
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
  readonly #kept = new Map<Parameter, Record<string, Parameter>>();
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

  /** Names of the variables that hold what is kept for a parameter. */
  slotNames(name: string, shape: Shape): Record<string, string> {
    return Object.fromEntries(
      Object.keys(this.slots(shape, name)).map((slot) => [slot, `${this.name}.${slot}.${name}`]),
    );
  }

  /** What is kept for parameters of these shapes, as it starts. */
  initialState(shapes: ReadonlyMap<string, Shape>): Record<string, HostValue> {
    const values: Record<string, HostValue> = {};
    for (const [name, shape] of shapes) {
      const names = this.slotNames(name, shape);
      for (const [slot, kept] of Object.entries(this.slots(shape, name))) {
        const size = kept.reduce((a, b) => a * b, 1);
        values[names[slot]] = { dtype: "float32", shape: kept, data: new Float32Array(size) };
      }
    }
    return values;
  }

  /** The scalars that a step of {@link stepOf} is fed. */
  inputsAt(step: number, learningRate = this.rateAt(step)): Record<string, Float32Array<ArrayBuffer>> {
    const values = { learningRate, ...this.scalars(step) };
    return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, Float32Array.of(value)]));
  }

  /**
   * One step for variables known by name, which are fed {@link inputsAt}.
   * @returns new values by variable name, and the gradients' norm before clipping
   */
  stepOf(parameters: readonly Trained[]): { updates: Record<string, Tensor>; gradNorm: Tensor } {
    const scalars = Object.fromEntries(Object.keys(this.inputsAt(0)).map((key) => [key, input(key, [])]));
    const updates: Record<string, Tensor> = {};
    const { gradNorm } = this.#apply(parameters, scalars, (trained) => {
      const names = this.slotNames(trained.name, trained.value.shape);
      const shapes = this.slots(trained.value.shape, trained.name);
      const slots = Object.fromEntries(
        Object.entries(names).map(([slot, name]) => [slot, variable(name, shapes[slot])]),
      );
      return {
        slots,
        take: (updated) => {
          for (const [slot, name] of Object.entries(names)) updates[name] = updated.slots[slot];
          updates[trained.name] = updated.value;
        },
      };
    });
    return { updates, gradNorm };
  }

  /**
   * Inside of a {@link program}: change the parameters at each run so that the loss falls. The step is logged to the
   * active run; with none, one is started, and ends with the cell.
   * @param target a module, or parameters
   */
  minimize(loss: Tensor, target: Module | readonly Parameter[]): void {
    const recording = activeRecording();
    if (!recording) {
      throw new ShapeError(
        "minimize: works only inside of a program: program((x, y) => { ...; optimizer.minimize(loss, model); })",
      );
    }
    const parameters = target instanceof Module ? target.parameters() : target;
    if (parameters.length === 0) throw new ShapeError("minimize: the model has no parameters to train");
    const gradients = grad(loss, parameters);
    const trained = parameters.map((value, i) => ({ name: value.title, value, gradient: gradients[i] }));
    const { gradNorm } = this.#apply(trained, this.#fed(), ({ name, value }) => {
      const kept = this.#keep(value as Parameter, name);
      return {
        slots: kept,
        take: (updated) => {
          for (const [slot, holder] of Object.entries(kept)) assign(holder, updated.slots[slot]);
          assign(value as Parameter, updated.value);
        },
      };
    });
    recording.observed.set("loss", loss).set("gradNorm", gradNorm);
    recording.guards.push(() => checkInterrupt(this.steps));
    recording.listeners.push((run) => {
      const learningRate = this.rateAt(this.steps);
      this.steps++;
      logStep(this, parameters, learningRate, run);
    });
  }

  #apply<T extends Trained>(
    parameters: readonly T[],
    scalars: Readonly<Record<string, Tensor>>,
    open: (trained: T) => { slots: Record<string, Tensor>; take: (updated: Updated) => void },
  ): { gradNorm: Tensor } {
    const squares = parameters.map(({ gradient }) => gradient.mul(gradient).sum());
    const gradNorm = squares.reduce((total, square) => total.add(square)).sqrt();
    // Every update depends on the norm, hence on every gradient: all readers of a parameter have finished before it
    // changes, and it may change where it lies.
    const max = Number.isFinite(this.maxGradNorm) ? this.maxGradNorm : 1e30;
    const clip = minimum(1, div(max, gradNorm.add(1e-6)));
    const update = this.updater(scalars);
    for (const trained of parameters) {
      const { slots, take } = open(trained);
      take(update(trained.value, trained.gradient.mul(clip), slots, trained.name));
    }
    return { gradNorm };
  }

  /** Scalars that each run takes from here by itself. */
  #fed(): Record<string, Tensor> {
    return Object.fromEntries(
      Object.keys(this.inputsAt(0)).map((key) => {
        const source = () => this.inputsAt(this.steps)[key];
        const known = this.#inputs.get(key) ?? input(`${key} of ${this.name} ${this.#id}`, [], "float32", source);
        this.#inputs.set(key, known);
        return [key, known];
      }),
    );
  }

  #keep(value: Parameter, name: string): Record<string, Parameter> {
    const known = this.#kept.get(value);
    if (known) return known;
    const kept = Object.fromEntries(
      Object.entries(this.slots(value.shape, name)).map(([slot, shape]) => {
        const holder = parameter(shape, init.constant(0), { trainable: false });
        holder.set(new Float32Array(holder.size));
        return [slot, holder];
      }),
    );
    this.#kept.set(value, kept);
    return kept;
  }
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
