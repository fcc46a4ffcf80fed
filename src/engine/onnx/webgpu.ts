import type { Tensor } from "../../tensor/index.ts";
import { EngineError } from "../failure.ts";
import { indexOf } from "../interpreter/arrays.ts";
import { chosenAfter } from "./after.ts";
import { elementType, type GraphBuilder } from "./builder.ts";
import type { Lowerings } from "./lower.ts";

/**
 * Lowerings of operators that the WebGPU provider does not support in the CPU's form, or that would depend on the order of
 * its threads. Unsupported operators would run on the CPU, with copies in both directions.
 */
export const webgpuLowerings: Partial<Lowerings> = {
  quantizeRows: onCpuOnly,
  int8Matmul: onCpuOnly,
  nf4Matmul: onCpuOnly,
  nf4Dequantize: onCpuOnly,

  // A shape that is computed on the GPU would be copied to the host for each variable.
  after: (graph, inputs, _, node) => chosenAfter(graph, inputs, node),

  // There is no FusedMatMul. Gemm transposes and scales matrices; batches of them need a separate Transpose.
  matmul: (graph, [a, b], { transposeA, transposeB, scale }, node) => {
    const plain = !transposeA && !transposeB && scale === 1;
    if (plain) return graph.node("MatMul", [a, b]);
    const [left, right] = node.inputs;
    if (left.shape.length === 2 && right.shape.length === 2) {
      return graph.node("Gemm", [a, b], { transA: +transposeA, transB: +transposeB, alpha: { float: scale } });
    }
    const factor = (name: string) =>
      scale === 1 ? name : graph.node("Mul", [name, graph.constant(Float32Array.of(scale), [], "float32")]);
    // The scale is applied to the smaller tensor: attention's scores are larger than its queries.
    const early = left.size <= node.size;
    const product = graph.node("MatMul", [
      swapLast(graph, early ? factor(a) : a, left, transposeA),
      swapLast(graph, b, right, transposeB),
    ]);
    return early ? product : factor(product);
  },

  // There is no LogSoftmax: computes log(sum(e^x)) - x[label], with the maximum subtracted first.
  crossEntropy: (graph, [logits, labels], _, node) => {
    const [n, first] = [node.inputs[1].size, graph.constant(Int32Array.of(0), [], "int32")];
    const column = graph.node("Reshape", [graph.node("Max", [labels, first]), graph.integers([n, 1])]);
    const axis = graph.integers([1]);
    const shifted = graph.node("Sub", [logits, graph.node("ReduceMax", [logits, axis], { keepdims: 1 })]);
    const total = graph.node("ReduceSum", [graph.node("Exp", [shifted]), axis], { keepdims: 1 });
    const chosen = graph.node("GatherElements", [shifted, column], { axis: 1 });
    const losses = graph.node("Reshape", [
      graph.node("Sub", [graph.node("Log", [total]), chosen]),
      graph.integers(node.shape),
    ]);
    const zero = graph.constant(Float32Array.of(0), [], "float32");
    return graph.node("Where", [graph.node("Less", [labels, first]), zero, losses]);
  },

  // MaxPool returns no indices here: concatenates the windows' elements and takes the index of the maximum.
  argMaxPool: (graph, [x], { kernel, stride, padding }, node) => {
    const size = node.inputs[0].shape.slice(2);
    const places = node.shape.slice(2);
    const axes = size.map((_, i) => i + 2);
    const lowest = graph.constant(Float32Array.of(-3.4e38), [], "float32");
    const padded = graph.node("Pad", [x, graph.integers([0, 0, ...padding, 0, 0, ...padding]), lowest]);
    const flat = (at: readonly number[]) => at.reduce((sum, p, i) => sum * size[i] + p, 0);
    const taps = Array.from({ length: kernel.reduce((a, b) => a * b, 1) }, (_, tap) => indexOf(tap, kernel));
    const columns = taps.map((tap) => {
      const ends = tap.map((start, i) => start + (places[i] - 1) * stride[i] + 1);
      const part = graph.node("Slice", [padded, ...[tap, ends, axes, stride].map((values) => graph.integers(values))]);
      return graph.node("Reshape", [part, graph.integers([...node.shape, 1])]);
    });
    const side = columns.length > 1 ? graph.node("Concat", columns, { axis: -1 }) : columns[0];
    const tap = graph.node("ArgMax", [side], { axis: -1, keepdims: 0 });
    const offset = graph.node("Gather", [graph.constant(Int32Array.from(taps, flat), [taps.length], "int32"), tap]);
    const starts = Array.from({ length: places.reduce((a, b) => a * b, 1) }, (_, place) =>
      flat(indexOf(place, places).map((at, i) => at * stride[i] - padding[i])),
    );
    return graph.node("Add", [offset, graph.constant(Int32Array.from(starts), places, "int32")]);
  },

  // ScatterElements adds floats in an undefined order here; the product with one-hot rows is deterministic.
  scatterAdd: (graph, [x, indices, updates], _, node) => {
    const [target, { size: n }] = node.inputs;
    const rows = target.shape[0];
    const width = target.size / rows;
    const all = graph.constant(
      Int32Array.from({ length: rows }, (_, i) => i),
      [rows],
      "int32",
    );
    const column = graph.node("Reshape", [indices, graph.integers([n, 1])]);
    const oneHot = graph.node("Cast", [graph.node("Equal", [column, all])], { to: elementType[node.dtype] });
    const flat = graph.node("Reshape", [updates, graph.integers([n, width])]);
    const sums = graph.node("Gemm", [oneHot, flat], { transA: 1 });
    return graph.node("Add", [x, graph.node("Reshape", [sums, graph.integers(node.shape)])]);
  },
};

function onCpuOnly(_graph: GraphBuilder, _inputs: readonly string[], _attributes: unknown, node: Tensor): never {
  throw new EngineError(
    `${node.operator.name} is not supported on WebGPU: open the engine with { device: "cpu" }, or use float32 or float16 weights.`,
  );
}

function swapLast(graph: GraphBuilder, name: string, { shape: { length } }: Tensor, transpose: boolean): string {
  if (!transpose) return name;
  const permutation = Array.from({ length }, (_, i) => (i === length - 1 ? i - 1 : i === length - 2 ? i + 1 : i));
  return graph.node("Transpose", [name], { perm: permutation });
}
