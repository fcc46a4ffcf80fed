import type { None } from "./attributes.ts";
import { isFloating } from "./broadcast.ts";
import { cotangentsOf } from "./grad.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import { Tensor } from "./tensor.ts";

/**
 * Returns the cotangents of a custom node's inputs after the first.
 * @param inputs those inputs of the node. Use only these: the node may be a copy in a recomputed pass, with other tensors
 * than those that `forward` was called with
 * @param needsInputGrad whether the cotangent of each input is used
 */
type Pullback = (
  cotangent: Tensor,
  value: Tensor,
  inputs: readonly Tensor[],
  needsInputGrad: readonly boolean[],
) => readonly (Tensor | undefined)[];

export interface CustomAttributes {
  /** Returns the first input; `pullback` computes the gradients of the other inputs. */
  custom: { readonly pullback: Pullback };
  /** Returns the first input once the second is computed. */
  after: None;
}

const customOperator = operator({
  name: "custom",
  infer: ([value]) => ({ shape: value.shape, dtype: value.dtype }),
  gradient: (g, { attributes, inputs: [value, ...others] }, [, ...needed]) => [
    undefined,
    ...attributes.pullback(g, value, others, needed),
  ],
});

const afterOperator = operator({
  name: "after",
  infer: ([value]) => ({ shape: value.shape, dtype: value.dtype }),
  gradient: (g) => [g, undefined],
});

/** Returns `value` once `other` is computed, which delays everything computed from the result. */
export function after(value: Tensor, other: Tensor): Tensor {
  return afterOperator([value, other], {});
}

/** A function of tensors with a custom gradient; see {@link customGradient}. */
export interface CustomFunction {
  forward: (...inputs: Tensor[]) => Tensor;
  /**
   * @param cotangent d loss / d result
   * @param result result of `forward`
   * @param inputs inputs of `forward`
   * @returns d loss / d input for each input, undefined for no gradient
   */
  backward: (cotangent: Tensor, result: Tensor, ...inputs: Tensor[]) => readonly (Tensor | undefined)[];
}

/**
 * Defines a function with a custom gradient (JAX's custom_vjp, PyTorch's autograd.Function).
 *
 * @example
 * // Straight-through estimator: rounds in forward, identity in backward.
 * const quantize = customGradient({ forward: (x) => round(x), backward: (g) => [g] });
 */
export function customGradient({ forward, backward }: CustomFunction): (...inputs: Tensor[]) => Tensor {
  return (...inputs) => {
    const pullback: Pullback = (cotangent, value, actualInputs) => {
      const gradients = backward(cotangent, value, ...actualInputs);
      return actualInputs.map((input, i) => {
        const gradient = gradients[i];
        if (gradient && showShape(gradient.shape) !== showShape(input.shape)) {
          throw new ShapeError(
            `customGradient: the gradient of input ${i} has shape ${showShape(gradient.shape)}, but the input has ${showShape(input.shape)}`,
          );
        }
        return gradient;
      });
    };
    return customOperator([forward(...inputs), ...inputs], { pullback });
  };
}

/**
 * Recomputes a function's intermediate values in the backward pass instead of storing them: less memory for more time
 * (Chen et al. 2016). Gradients also flow to tensors that the function uses but does not take as arguments.
 *
 * @example
 * for (const layer of layers) x = checkpoint((h) => layer.forward(h))(x);
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor): (...inputs: Tensor[]) => Tensor {
  return (...inputs) => {
    // Ids increase in creation order, so tensors built inside have ids from here on.
    const first = Tensor.nextId();
    const value = fn(...inputs);
    const inside = builtSince(first, value);
    if (inside.length === 0) return value;
    const insideSet = new Set(inside);
    const outside = [...new Set(inside.flatMap((t) => t.inputs))].filter((t) => !insideSet.has(t));
    const pullback: Pullback = (cotangent, _, inputs, needsInputGrad) => {
      const recomputed = new Map<Tensor, Tensor>();
      // Recomputation waits for the cotangent; otherwise all of it could be in memory at once again.
      const entrances = inputs.map((t) => (waits(t) ? after(t, cotangent) : t));
      outside.forEach((t, i) => {
        recomputed.set(t, entrances[i]);
      });
      for (const t of inside) recomputed.set(t, rebuild(t, recomputed));
      const targets = entrances.filter((_, i) => needsInputGrad[i]);
      const cotangents = cotangentsOf(
        new Map([[recomputed.get(value) as Tensor, cotangent]]),
        targets,
        new Set(entrances),
      );
      const gradients = together(cotangents).values();
      return needsInputGrad.map((needed) => (needed ? gradients.next().value : undefined));
    };
    return customOperator([value, ...outside], { pullback });
  };
}

/** Makes each value depend on all of them, so that the inputs of a late one are not kept in memory. */
function together(values: readonly (Tensor | undefined)[]): (Tensor | undefined)[] {
  const present = values.filter((t) => t !== undefined);
  if (present.length < 2) return [...values];
  const last = present.reduce((done, t) => after(t, done));
  return values.map((t) => t && after(t, last));
}

/** Returns the tensors with ids from `first` that `value` depends on, without leaves, each after its inputs. */
function builtSince(first: number, value: Tensor): Tensor[] {
  const visited = new Set<Tensor>();
  const stack = [value];
  for (let next = stack.pop(); next; next = stack.pop()) {
    if (visited.has(next) || next.id < first || next.inputs.length === 0) continue;
    visited.add(next);
    stack.push(...next.inputs);
  }
  return [...visited].sort((a, b) => a.id - b.id);
}

/** Whether a recomputation's input must wait: float values do, and so do compressed variables, which grow when read. */
function waits({ operator: { name }, inputs, dtype }: Tensor): boolean {
  if (inputs.length > 0) return isFloating(dtype);
  return name === "variable" && ["float16", "bfloat16", "int8", "uint8"].includes(dtype);
}

function rebuild(t: Tensor, recomputed: ReadonlyMap<Tensor, Tensor>): Tensor {
  const inputs = t.inputs.map((input) => recomputed.get(input) as Tensor);
  return new Tensor(t.operator, inputs, t.attributes, t.shape, t.dtype);
}
