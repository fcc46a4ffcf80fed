import type { None } from "./attributes.ts";
import { isFloating } from "./broadcast.ts";
import { cotangentsOf, topological } from "./grad.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import { Tensor } from "./tensor.ts";

export interface CustomAttributes {
  /** The first input's value, whose gradient is worked out by `pullback` and goes to the other inputs. */
  custom: { readonly pullback: (cotangent: Tensor, value: Tensor) => readonly (Tensor | undefined)[] };
  /** The first input's value, not before the second has been computed. */
  after: None;
}

const customOperator = operator({
  name: "custom",
  infer: ([value]) => ({ shape: value.shape, dtype: value.dtype }),
  gradient: (g, node) => [undefined, ...node.attributes.pullback(g, node.inputs[0])],
});

const afterOperator = operator({
  name: "after",
  infer: ([value]) => ({ shape: value.shape, dtype: value.dtype }),
  gradient: (g) => [g, undefined],
});

/** A function of tensors with a gradient of its own; see {@link customGradient}. */
export interface CustomFunction {
  forward: (...inputs: Tensor[]) => Tensor;
  /**
   * @param cotangent d loss / d result
   * @param result what `forward` gave
   * @param inputs what it was given
   * @returns d loss / d input for each input, undefined where none flows
   */
  backward: (cotangent: Tensor, result: Tensor, ...inputs: Tensor[]) => readonly (Tensor | undefined)[];
}

/**
 * A function whose gradient is given instead of derived (JAX's custom_vjp, PyTorch's autograd.Function).
 *
 * @example
 * // The straight-through estimator: rounds, and lets the gradient pass as if it had not.
 * const quantize = customGradient({ forward: (x) => round(x), backward: (g) => [g] });
 */
export function customGradient({ forward, backward }: CustomFunction): (...inputs: Tensor[]) => Tensor {
  return (...inputs) => {
    const pullback = (cotangent: Tensor, value: Tensor) => {
      const given = backward(cotangent, value, ...inputs);
      return inputs.map((input, i) => {
        const gradient = given[i];
        if (gradient && showShape(gradient.shape) !== showShape(input.shape)) {
          throw new ShapeError(
            `customGradient: the gradient of input ${i} has shape ${showShape(gradient.shape)}, the input ${showShape(input.shape)}`,
          );
        }
        return gradient;
      });
    };
    return customOperator([forward(...inputs), ...inputs], { pullback });
  };
}

/**
 * A function whose inner values are not kept for the backward pass but computed there again: less memory for more time
 * (Chen et al. 2016). Gradients also flow to tensors that the function uses without being given them.
 *
 * @example
 * for (const layer of layers) x = checkpoint((h) => layer.forward(h))(x);
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor): (...inputs: Tensor[]) => Tensor {
  return (...inputs) => {
    // Ids grow in the order of building: what has one from here on was built inside.
    const first = Tensor.nextId();
    const value = fn(...inputs);
    const inside = topological([value]).filter((t) => t.id >= first && t.inputs.length > 0);
    if (inside.length === 0) return value;
    const outside = [...new Set(inside.flatMap((t) => t.inputs))].filter((t) => !inside.includes(t));
    const pullback = (cotangent: Tensor) => {
      const again = new Map<Tensor, Tensor>();
      // Nothing is recomputed before its cotangent is there, or all of it would be held at once again.
      for (const t of outside) {
        const waits = t.inputs.length > 0 && isFloating(t.dtype);
        again.set(t, waits ? afterOperator([t, cotangent], {}) : t);
      }
      const entrances = outside.map((t) => again.get(t) as Tensor);
      for (const t of inside) again.set(t, rebuild(t, again));
      const found = cotangentsOf(new Map([[again.get(value) as Tensor, cotangent]]), entrances, new Set(entrances));
      return outside.map((t, i) => (isFloating(t.dtype) ? found[i] : undefined));
    };
    return customOperator([value, ...outside], { pullback });
  };
}

function rebuild(t: Tensor, again: ReadonlyMap<Tensor, Tensor>): Tensor {
  const inputs = t.inputs.map((input) => again.get(input) as Tensor);
  return new Tensor(t.operator, inputs, t.attributes, t.shape, t.dtype);
}
