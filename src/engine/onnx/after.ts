import type { Tensor } from "../../tensor/index.ts";
import type { GraphBuilder } from "./builder.ts";

/** Returns a bool that depends on a float value. */
function readiness(graph: GraphBuilder, value: string, size: number): string {
  const flat = graph.node("Reshape", [value, graph.integers([size])]);
  const first = graph.node("Slice", [flat, graph.integers([0]), graph.integers([1])]);
  return graph.node("Reshape", [graph.node("IsNaN", [first]), graph.integers([])]);
}

/** Selects between a value and itself by a condition that depends on `other`. */
export function chosenAfter(graph: GraphBuilder, [value, other]: readonly string[], node: Tensor): string {
  return graph.node("Where", [readiness(graph, other, node.inputs[1].size), value, value]);
}

/**
 * Returns the same memory, reshaped to its own shape through a shape that depends on `other`; then reshaped again with the
 * static shape, for the nodes after it.
 */
export function sharedAfter(graph: GraphBuilder, [value, other]: readonly string[], node: Tensor): string {
  const shape = graph.integers(node.shape);
  const same = graph.node("Where", [readiness(graph, other, node.inputs[1].size), shape, shape]);
  return graph.node("Reshape", [graph.node("Reshape", [value, same]), shape]);
}
