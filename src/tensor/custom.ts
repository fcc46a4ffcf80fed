import type { None } from "./attributes.ts";
import { isFloating } from "./broadcast.ts";
import { cotangentsOf } from "./grad.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import { Tensor } from "./tensor.ts";

/**
 * Cotangents of a custom node's inputs after the first.
 * @param inputs those inputs as the node has them: the node may be a copy in a pass that is computed again, so nothing
 * else that was built with the first one may be used
 * @param needsInputGrad for each of those inputs, whether its cotangent is used
 */
type Pullback = (
  cotangent: Tensor,
  value: Tensor,
  inputs: readonly Tensor[],
  needsInputGrad: readonly boolean[],
) => readonly (Tensor | undefined)[];

export interface CustomAttributes {
  /** The first input's value, whose gradient is worked out by `pullback` and goes to the other inputs. */
  custom: { readonly pullback: Pullback };
  /** The first input's value, not before the second has been computed. */
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

/** `value`, not before `other` has been computed: what is made from it takes no memory until then. */
export function after(value: Tensor, other: Tensor): Tensor {
  return afterOperator([value, other], {});
}

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
    const pullback: Pullback = (cotangent, value, own) => {
      const given = backward(cotangent, value, ...own);
      return own.map((input, i) => {
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
    const inside = builtSince(first, value);
    if (inside.length === 0) return value;
    const known = new Set(inside);
    const outside = [...new Set(inside.flatMap((t) => t.inputs))].filter((t) => !known.has(t));
    const pullback: Pullback = (cotangent, _, inputs, needsInputGrad) => {
      const again = new Map<Tensor, Tensor>();
      // Nothing is recomputed before its cotangent is there, or all of it would be held at once again.
      const entrances = inputs.map((t) => (waits(t) ? after(t, cotangent) : t));
      outside.forEach((t, i) => {
        again.set(t, entrances[i]);
      });
      for (const t of inside) again.set(t, rebuild(t, again));
      const wanted = entrances.filter((_, i) => needsInputGrad[i]);
      const found = cotangentsOf(new Map([[again.get(value) as Tensor, cotangent]]), wanted, new Set(entrances));
      const gradients = together(found).values();
      return needsInputGrad.map((needed) => (needed ? gradients.next().value : undefined));
    };
    return customOperator([value, ...outside], { pullback });
  };
}

/** Values of which none can be used before all are there: what they were computed from is not kept for a late one. */
function together(values: readonly (Tensor | undefined)[]): (Tensor | undefined)[] {
  const present = values.filter((t) => t !== undefined);
  if (present.length < 2) return [...values];
  const last = present.reduce((done, t) => after(t, done));
  return values.map((t) => t && after(t, last));
}

/** What `value` depends on and has an id from `first` on, leaves left out, each after its inputs. */
function builtSince(first: number, value: Tensor): Tensor[] {
  const seen = new Set<Tensor>();
  const stack = [value];
  for (let next = stack.pop(); next; next = stack.pop()) {
    if (seen.has(next) || next.id < first || next.inputs.length === 0) continue;
    seen.add(next);
    stack.push(...next.inputs);
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/** Whether it matters when a value is there: a variable in few bits is made larger when it is read. */
function waits({ operator: { name }, inputs, dtype }: Tensor): boolean {
  if (inputs.length > 0) return isFloating(dtype);
  return name === "variable" && ["float16", "bfloat16", "int8", "uint8"].includes(dtype);
}

function rebuild(t: Tensor, again: ReadonlyMap<Tensor, Tensor>): Tensor {
  const inputs = t.inputs.map((input) => again.get(input) as Tensor);
  return new Tensor(t.operator, inputs, t.attributes, t.shape, t.dtype);
}
