import { isFloating } from "./broadcast.ts";
import { full } from "./leaf.ts";
import { ShapeError, showShape } from "./operator.ts";
import type { Tensor } from "./tensor.ts";

/**
 * Returns all tensors that `roots` depend on, including `roots`, each after its inputs.
 * @param ends tensors whose inputs are not followed
 */
export function topological(roots: readonly Tensor[], ends: ReadonlySet<Tensor> = new Set()): Tensor[] {
  const visited = new Set<Tensor>();
  const stack = [...roots];
  for (let next = stack.pop(); next; next = stack.pop()) {
    if (visited.has(next)) continue;
    visited.add(next);
    if (!ends.has(next)) stack.push(...next.inputs);
  }
  return [...visited].sort((a, b) => a.id - b.id);
}

/**
 * Propagates cotangents backward from `starts` to `wrt`.
 * @param ends tensors at which propagation stops; they count as independent of their inputs
 * @returns one cotangent for each of `wrt`; undefined where `starts` do not depend on it
 */
export function cotangentsOf(
  starts: ReadonlyMap<Tensor, Tensor>,
  wrt: readonly Tensor[],
  ends: ReadonlySet<Tensor> = new Set(),
): (Tensor | undefined)[] {
  const order = topological([...starts.keys()], ends);
  const targets = new Set(wrt);
  // Only tensors that depend on wrt get a cotangent, so frozen weights cost nothing.
  const active = new Set<Tensor>();
  for (const t of order) if (targets.has(t) || t.inputs.some((i) => active.has(i))) active.add(t);

  const cotangents = new Map(starts);
  for (const t of order.reverse()) {
    const g = cotangents.get(t);
    if (!g || !active.has(t) || t.inputs.length === 0 || ends.has(t)) continue;
    if (!t.operator.gradient) {
      if (!isFloating(t.dtype)) continue;
      throw new ShapeError(`grad: ${t.operator.name} is not differentiable`);
    }
    const needed = t.inputs.map((input) => active.has(input));
    t.operator.gradient(g, t, needed).forEach((contribution, i) => {
      const target = t.inputs[i];
      if (!contribution || !active.has(target)) return;
      const current = cotangents.get(target);
      cotangents.set(target, current ? current.add(contribution) : contribution);
    });
  }
  return wrt.map((t) => cotangents.get(t));
}

/**
 * Reverse-mode differentiation: returns d loss / d t for each t of `wrt`. The result is a graph and can be differentiated
 * again.
 * @param loss a floating scalar
 * @param wrt tensors to differentiate by; zeros for one that the loss does not depend on
 * @throws ShapeError when the loss is not a scalar, or depends on `wrt` through an operator that is not differentiable
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
 * Vector-Jacobian product: for each t of `wrt`, the sum over `outputs` of cotangent times d output / d t.
 * @param cotangents one for each output, of the same shape
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
    const current = starts.get(output);
    starts.set(output, current ? current.add(cotangent) : cotangent);
  });
  return cotangentsOf(starts, wrt).map((g, i) => g ?? full(wrt[i].shape, 0, wrt[i].dtype));
}

/**
 * Transforms a function of tensors into one that returns its value and the gradients of its arguments.
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
