import type { Attributes, OperatorName, Tensor } from "../../tensor/index.ts";
import type { DeviceName } from "../device.ts";
import type { Program } from "../program.ts";
import { elementType, GraphBuilder } from "./builder.ts";
import { webgpuLowerings } from "./webgpu.ts";

/** An operator in ONNX: the names of its inputs go in, the name of its result comes out. */
type Lowering<K extends OperatorName> = (
  graph: GraphBuilder,
  inputs: readonly string[],
  attributes: Attributes[K],
  node: Tensor,
) => string;

/** How each operator is said in ONNX. */
export type Lowerings = { [K in OperatorName]: Lowering<K> };

const contrib = { domain: "com.microsoft" };
const same =
  (opType: string) =>
  (graph: GraphBuilder, inputs: readonly string[]): string =>
    graph.node(opType, inputs);

/** One entry for each operator of a tensor program. */
const lowerings: Lowerings = {
  constant: (graph, _, { data, shape, dtype }) => graph.constant(data, shape, dtype),
  input: (_graph, _, { name }) => inputName(name),
  variable: (_graph, _, { name }) => variableName(name),

  add: same("Add"),
  sub: same("Sub"),
  mul: same("Mul"),
  div: same("Div"),
  maximum: same("Max"),
  minimum: same("Min"),
  neg: same("Neg"),
  exp: same("Exp"),
  log: same("Log"),
  sqrt: same("Sqrt"),
  sigmoid: same("Sigmoid"),
  tanh: same("Tanh"),
  relu: same("Relu"),
  equal: same("Equal"),
  less: same("Less"),
  lessEqual: same("LessOrEqual"),
  and: same("And"),
  not: same("Not"),
  where: same("Where"),
  stopGradient: same("Identity"),
  cast: (graph, inputs, { dtype }) => graph.node("Cast", inputs, { to: elementType[dtype] }),

  sum: (graph, [x], { axes, keepDims }) => graph.node("ReduceSum", [x, graph.integers(axes)], { keepdims: +keepDims }),
  max: (graph, [x], { axes, keepDims }) => graph.node("ReduceMax", [x, graph.integers(axes)], { keepdims: +keepDims }),
  argmax: (graph, [x], { axis }) =>
    graph.node("Cast", [graph.node("ArgMax", [x], { axis, keepdims: 0 })], { to: elementType.int32 }),

  reshape: (graph, [x], { shape }) => graph.node("Reshape", [x, graph.integers(shape)]),
  transpose: (graph, [x], { permutation }) => graph.node("Transpose", [x], { perm: permutation }),
  broadcastTo: (graph, [x], { shape }) => graph.node("Expand", [x, graph.integers(shape)]),
  slice: (graph, [x], { axis, start, end }) =>
    graph.node("Slice", [x, graph.integers([start]), graph.integers([end]), graph.integers([axis])]),
  concat: (graph, inputs, { axis }) => graph.node("Concat", inputs, { axis }),

  matmul: (graph, inputs, { transposeA, transposeB, scale }) =>
    transposeA || transposeB || scale !== 1
      ? graph.node(
          "FusedMatMul",
          inputs,
          { transA: +transposeA, transB: +transposeB, alpha: { float: scale } },
          contrib,
        )
      : graph.node("MatMul", inputs),

  gather: (graph, inputs) => graph.node("Gather", inputs, { axis: 0 }),
  // ScatterElements walks its updates in order, so sums do not depend on the number of threads; ScatterND's do.
  scatterAdd: (graph, [x, indices, updates], _, node) => {
    const rows = node.inputs[1].size;
    const row = node.shape.slice(1);
    const flat = graph.node("Reshape", [updates, graph.integers([rows, ...row])]);
    const column = graph.node("Reshape", [indices, graph.integers([rows, ...row.map(() => 1)])]);
    const everywhere = graph.node("Expand", [column, graph.integers([rows, ...row])]);
    return graph.node("ScatterElements", [x, everywhere, flat], { axis: 0, reduction: "add" });
  },

  softmax: (graph, inputs) => graph.node("Softmax", inputs, { axis: -1 }),
  crossEntropy: (graph, [logits, labels], _, node) => {
    const { column, ignored, zero } = labelColumns(graph, labels, node.inputs[1]);
    const logProbability = graph.node("GatherElements", [graph.node("LogSoftmax", [logits], { axis: -1 }), column], {
      axis: 1,
    });
    const losses = graph.node("Neg", [graph.node("Reshape", [logProbability, graph.integers(node.shape)])]);
    return graph.node("Where", [ignored, zero, losses]);
  },
  crossEntropyGradient: (graph, [logits, labels, g], _, node) => {
    const { column, ignored, zero } = labelColumns(graph, labels, node.inputs[1]);
    const rows = node.inputs[1].size;
    const minusOne = graph.node("Expand", [scalar(graph, -1), graph.integers([rows, 1])]);
    const difference = graph.node(
      "ScatterElements",
      [graph.node("Softmax", [logits], { axis: -1 }), column, minusOne],
      { axis: 1, reduction: "add" },
    );
    const weight = graph.node("Reshape", [graph.node("Where", [ignored, zero, g]), graph.integers([rows, 1])]);
    return graph.node("Mul", [difference, weight]);
  },
  rmsNorm: (graph, inputs, { epsilon }) =>
    graph.node("SimplifiedLayerNormalization", inputs, { axis: -1, epsilon: { float: epsilon }, stash_type: 1 }),
  rotary: (graph, [x, positions, cos, sin], { inverse }) => {
    const turn = inverse ? graph.node("Neg", [sin]) : sin;
    const rows = graph.node("Cast", [positions], { to: elementType.int64 });
    return graph.node("RotaryEmbedding", [x, rows, cos, turn], { interleaved: 0 }, contrib);
  },
};

function scalar(graph: GraphBuilder, value: number): string {
  return graph.constant(Float32Array.of(value), [], "float32");
}

/** Labels as a column of valid indices, and which of them stand for "ignore" (-100). */
function labelColumns(graph: GraphBuilder, labels: string, node: Tensor) {
  const first = graph.constant(Int32Array.of(0), [], "int32");
  const ignored = graph.node("Less", [labels, first]);
  const safe = graph.node("Max", [labels, first]);
  return {
    column: graph.node("Reshape", [safe, graph.integers([node.size, 1])]),
    ignored,
    zero: scalar(graph, 0),
  };
}

const inputName = (name: string) => `input:${name}`;
const variableName = (name: string) => `variable:${name}`;
const outputName = (name: string) => `output:${name}`;
const updateName = (name: string) => `update:${name}`;

/** Names of a lowered program's inputs and outputs, as {@link lower} gives them. */
export const graphNames = { input: inputName, variable: variableName, output: outputName, update: updateName };

/** A program as the bytes of an ONNX model, in the operators that are fast on the device. */
export function lower(program: Program, device: DeviceName): Uint8Array {
  const table: Lowerings = device === "webgpu" ? { ...lowerings, ...webgpuLowerings } : lowerings;
  const graph = new GraphBuilder();
  for (const { attributes: a } of program.inputs) graph.input(inputName(a.name), a.shape, a.dtype);
  for (const { attributes: a } of program.variables) graph.input(variableName(a.name), a.shape, a.dtype);
  const names = new Map<Tensor, string>();
  const nameOf = (t: Tensor) => {
    const name = names.get(t);
    if (name === undefined) throw new Error(`${t.operator.name} is used before it is built`);
    return name;
  };
  for (const node of program.nodes) names.set(node, lowerNode(table, graph, node, node.inputs.map(nameOf)));
  const given = new Set<string>();
  const give = (name: string, t: Tensor, copy = false) => {
    const current = nameOf(t);
    // A result that is handed out once is written straight to where it goes; leaves and shared ones are copied.
    if (t.inputs.length > 0 && !given.has(current) && !copy) {
      graph.rename(current, name);
      names.set(t, name);
    } else {
      graph.node("Identity", [current], {}, { output: name });
    }
    given.add(name);
    graph.output(name, t.shape, t.dtype);
  };
  for (const [name, t] of Object.entries(program.outputs)) give(outputName(name), t);
  for (const [name, t] of Object.entries(program.updates)) {
    // A WebGPU shader may not read and write one buffer: what changes where it lies is computed beside it, then copied.
    const aliased = program.inPlace.has(name) && t.inputs.some(({ operator }) => operator.name === "variable");
    give(updateName(name), t, device === "webgpu" && aliased);
  }
  return graph.encode();
}

function lowerNode<K extends OperatorName>(
  table: Lowerings,
  graph: GraphBuilder,
  node: Tensor<K>,
  inputs: readonly string[],
): string {
  const lowering: Lowering<K> = table[node.operator.name];
  return lowering(graph, inputs, node.attributes, node);
}
