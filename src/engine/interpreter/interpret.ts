import { type OperatorName, type Tensor, topological } from "../../tensor/index.ts";
import type { Value } from "./arrays.ts";
import { rules } from "./rules.ts";

/**
 * Computes a graph in plain TypeScript and double precision. Slow; it is the reference definition of each operator, against
 * which executors and gradients are tested.
 * @param values values of inputs and variables
 */
export function interpret(
  roots: readonly Tensor[],
  values: ReadonlyMap<Tensor, ArrayLike<number>> = new Map(),
): Float64Array[] {
  const results = new Map<Tensor, Value>();
  for (const node of topological(roots)) {
    const value = values.get(node);
    const data = value
      ? Float64Array.from(value)
      : evaluate(
          node,
          node.inputs.map((i) => results.get(i) as Value),
        );
    results.set(node, { shape: node.shape, data });
  }
  return roots.map((root) => (results.get(root) as Value).data);
}

function evaluate<K extends OperatorName>(node: Tensor<K>, inputs: readonly Value[]): Float64Array {
  return rules[node.operator.name](inputs, node.attributes, node);
}
