import type { Tensor } from "../../tensor/index.ts";
import type { GraphBuilder } from "./builder.ts";

/** A bool that is not there before a float value of a size is. */
function readiness(graph: GraphBuilder, value: string, size: number): string {
  const flat = graph.node("Reshape", [value, graph.integers([size])]);
  const first = graph.node("Slice", [flat, graph.integers([0]), graph.integers([1])]);
  return graph.node("Reshape", [graph.node("IsNaN", [first]), graph.integers([])]);
}

/** A choice between a value and itself, which cannot be made before the other is there. */
export function chosenAfter(graph: GraphBuilder, [value, other]: readonly string[], node: Tensor): string {
  return graph.node("Where", [readiness(graph, other, node.inputs[1].size), value, value]);
}

/**
 * The same memory in its own shape, which is not known before the other is there; then in the shape that is known, for
 * what comes after.
 */
export function sharedAfter(graph: GraphBuilder, [value, other]: readonly string[], node: Tensor): string {
  const shape = graph.integers(node.shape);
  const same = graph.node("Where", [readiness(graph, other, node.inputs[1].size), shape, shape]);
  return graph.node("Reshape", [graph.node("Reshape", [value, same]), shape]);
}
