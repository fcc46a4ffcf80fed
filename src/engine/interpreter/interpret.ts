import { type OperatorName, type Tensor, topological } from "../../tensor/index.ts";
import type { Value } from "./arrays.ts";
import { rules } from "./rules.ts";

/**
 * Run a graph in plain TypeScript and double precision. Slow, and the plainest statement of what each operator means: the
 * executors are checked against it, and gradients against its finite differences.
 * @param values what inputs and variables stand for
 */
export function interpret(
  roots: readonly Tensor[],
  values: ReadonlyMap<Tensor, ArrayLike<number>> = new Map(),
): Float64Array[] {
  const known = new Map<Tensor, Value>();
  for (const node of topological(roots)) {
    const given = values.get(node);
    const data = given
      ? Float64Array.from(given)
      : evaluate(
          node,
          node.inputs.map((i) => known.get(i) as Value),
        );
    known.set(node, { shape: node.shape, data });
  }
  return roots.map((root) => (known.get(root) as Value).data);
}

function evaluate<K extends OperatorName>(node: Tensor<K>, inputs: readonly Value[]): Float64Array {
  return rules[node.operator.name](inputs, node.attributes, node);
}
