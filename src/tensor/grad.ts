import { isFloating } from "./broadcast.ts";
import { full } from "./leaf.ts";
import { ShapeError, showShape } from "./operator.ts";
import type { Tensor } from "./tensor.ts";

/**
 * All tensors that `roots` depend on, themselves included, each after its inputs.
 * @param ends tensors whose inputs are left out, unless something else depends on them
 */
export function topological(roots: readonly Tensor[], ends: ReadonlySet<Tensor> = new Set()): Tensor[] {
  const seen = new Set<Tensor>();
  const stack = [...roots];
  for (let next = stack.pop(); next; next = stack.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    if (!ends.has(next)) stack.push(...next.inputs);
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/**
 * Push cotangents back from the tensors that have one to those of `wrt`.
 * @param ends where to go no further: what lies before counts as not depending on anything
 * @returns one for each of `wrt`, undefined where none arrives
 */
export function cotangentsOf(
  starts: ReadonlyMap<Tensor, Tensor>,
  wrt: readonly Tensor[],
  ends: ReadonlySet<Tensor> = new Set(),
): (Tensor | undefined)[] {
  const order = topological([...starts.keys()], ends);
  const wanted = new Set(wrt);
  // Only what lies between wrt and the result gets a cotangent: frozen weights cost nothing.
  const active = new Set<Tensor>();
  for (const t of order) if (wanted.has(t) || t.inputs.some((i) => active.has(i))) active.add(t);

  const cotangents = new Map(starts);
  for (const t of order.reverse()) {
    const g = cotangents.get(t);
    if (!g || !active.has(t) || t.inputs.length === 0 || ends.has(t)) continue;
    if (!t.operator.gradient) {
      if (!isFloating(t.dtype)) continue;
      throw new ShapeError(`grad: ${t.operator.name} has no gradient`);
    }
    const needed = t.inputs.map((input) => active.has(input));
    t.operator.gradient(g, t, needed).forEach((contribution, i) => {
      const target = t.inputs[i];
      if (!contribution || !active.has(target)) return;
      const sofar = cotangents.get(target);
      cotangents.set(target, sofar ? sofar.add(contribution) : contribution);
    });
  }
  return wrt.map((t) => cotangents.get(t));
}

/**
 * Reverse-mode differentiation: d loss / d t for each t of `wrt`. Builds graph, so it can be differentiated again.
 * @param loss a floating scalar
 * @param wrt tensors the loss may depend on; one that it does not depend on gets zeros
 * @throws ShapeError when the loss is not a scalar, or when an operator on the way has no gradient
 */
export function grad(loss: Tensor, wrt: readonly Tensor[]): Tensor[] {
  if (loss.size !== 1) {
    throw new ShapeError(
      `grad: the loss must be a scalar, not ${showShape(loss.shape)}; reduce it with sum() or mean()`,
    );
  }
  if (!isFloating(loss.dtype)) throw new ShapeError(`grad: the loss must be of a floating dtype, not ${loss.dtype}`);
  return vjp([loss], wrt, [full(loss.shape, 1, loss.dtype)]);
}

/**
 * Vector-Jacobian product: the sum over `outputs` of cotangent times d output / d t, for each t of `wrt`.
 * @param cotangents one for each output, of its shape
 */
export function vjp(outputs: readonly Tensor[], wrt: readonly Tensor[], cotangents: readonly Tensor[]): Tensor[] {
  const starts = new Map<Tensor, Tensor>();
  outputs.forEach((output, i) => {
    const cotangent = cotangents[i];
    if (!cotangent || showShape(cotangent.shape) !== showShape(output.shape)) {
      throw new ShapeError(
        `vjp: output ${i} of shape ${showShape(output.shape)} needs a cotangent of that shape, got ${cotangent ? showShape(cotangent.shape) : "none"}`,
      );
    }
    const sofar = starts.get(output);
    starts.set(output, sofar ? sofar.add(cotangent) : cotangent);
  });
  return cotangentsOf(starts, wrt).map((g, i) => g ?? full(wrt[i].shape, 0, wrt[i].dtype));
}

/**
 * A function of tensors turned into one that gives its value and the gradient by each argument.
 *
 * @example
 * const [loss, [dw, db]] = valueAndGrad((w, b) => x.matmul(w).add(b).square().mean())(w, b);
 */
export function valueAndGrad<A extends Tensor[]>(
  fn: (...args: A) => Tensor,
): (...args: A) => [value: Tensor, gradients: Tensor[]] {
  return (...args) => {
    const value = fn(...args);
    return [value, grad(value, args)];
  };
}
