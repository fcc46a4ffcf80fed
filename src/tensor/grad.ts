import { full } from "./leaf.ts";
import { ShapeError, showShape } from "./operator.ts";
import type { Tensor } from "./tensor.ts";

/** All tensors that `roots` depend on, themselves included, each after its inputs. */
export function topological(roots: readonly Tensor[]): Tensor[] {
  const seen = new Set<Tensor>();
  const stack = [...roots];
  for (let next = stack.pop(); next; next = stack.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    stack.push(...next.inputs);
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/**
 * Reverse-mode differentiation: d loss / d t for each t of `wrt`. Builds graph, so it can be differentiated again.
 * @param loss a float32 scalar
 * @param wrt tensors the loss may depend on; one that it does not depend on gets zeros
 * @throws ShapeError when the loss is not a scalar, or when an operator on the way has no gradient
 */
export function grad(loss: Tensor, wrt: readonly Tensor[]): Tensor[] {
  if (loss.size !== 1) {
    throw new ShapeError(
      `grad: the loss must be a scalar, not ${showShape(loss.shape)}; reduce it with sum() or mean()`,
    );
  }
  const order = topological([loss]);
  const wanted = new Set(wrt);
  // Only what lies between wrt and the loss gets a cotangent: frozen weights cost nothing.
  const active = new Set<Tensor>();
  for (const t of order) if (wanted.has(t) || t.inputs.some((i) => active.has(i))) active.add(t);

  const cotangents = new Map<Tensor, Tensor>([[loss, full(loss.shape, 1)]]);
  for (const t of order.reverse()) {
    const g = cotangents.get(t);
    if (!g || !active.has(t) || t.inputs.length === 0) continue;
    if (!t.operator.gradient) {
      if (t.dtype !== "float32") continue;
      throw new ShapeError(`grad: ${t.operator.name} has no gradient`);
    }
    t.operator.gradient(g, t).forEach((contribution, i) => {
      const target = t.inputs[i];
      if (!contribution || !active.has(target)) return;
      const sofar = cotangents.get(target);
      cotangents.set(target, sofar ? sofar.add(contribution) : contribution);
    });
  }
  return wrt.map((t) => cotangents.get(t) ?? full(t.shape, 0));
}
