import { readFileSync } from "node:fs";
import { elementType, type GraphBuilder } from "./builder.ts";

/**
 * Whether the processor sums products of bytes in 32 bits. Those without add pairs of them in 16 bits first, where
 * larger ones are cut off: there, one operand gets 7 bits.
 */
const wideSums = (() => {
  if (process.arch !== "x64") return true;
  try {
    return /\b(avx512_vnni|avx_vnni|amx_int8)\b/.test(readFileSync("/proc/cpuinfo", "utf8"));
  } catch {
    return false; // Only Linux tells.
  }
})();

/** Largest whole number that a row's largest value is rounded to. */
const levels = wideSums ? 127 : 63;

/**
 * x times int8 `weight` [k, m], times `scale` [m] if there is one: x's rows rounded to bytes by their largest values.
 * @param rows rows of x
 */
export function quantizedProduct(
  graph: GraphBuilder,
  x: string,
  weight: string,
  scale: string | undefined,
  rows: number,
): string {
  const number = (value: number) => graph.constant(Float32Array.of(value), [], "float32");
  // The runtime's fast product takes one operand without sign: zero is in the middle.
  const middle = (shape: readonly number[]) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return graph.node("Cast", [graph.constant(new Int32Array(size).fill(levels + 1), shape, "int32")], {
      to: elementType.uint8,
    });
  };
  const largest = graph.node("ReduceMax", [graph.node("Abs", [x]), graph.integers([1])], { keepdims: 1 });
  const unit = graph.node("Max", [graph.node("Mul", [largest, number(1 / levels)]), number(1e-30)]);
  const bytes = graph.node("QuantizeLinear", [x, graph.node("Reshape", [unit, graph.integers([-1])]), middle([rows])], {
    axis: 0,
  });
  const product = graph.node(
    "MatMulIntegerToFloat",
    [bytes, weight, number(1), scale ?? number(1), middle([])],
    {},
    { domain: "com.microsoft" },
  );
  return graph.node("Mul", [product, unit]);
}
