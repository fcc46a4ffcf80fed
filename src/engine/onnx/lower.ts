import type { Attributes, OperatorName, Tensor } from "../../tensor/index.ts";
import type { DeviceName } from "../device.ts";
import { EngineError } from "../failure.ts";
import type { Program } from "../program.ts";
import { sharedAfter } from "./after.ts";
import { elementType, GraphBuilder } from "./builder.ts";
import { int8Product, nf4Full, nf4Product } from "./quantized.ts";
import { borderType, storedType } from "./values.ts";
import { webgpuLowerings } from "./webgpu.ts";

/** Adds an operator to an ONNX graph: takes the names of its inputs, returns the name of its result. */
type Lowering<K extends OperatorName> = (
  graph: GraphBuilder,
  inputs: readonly string[],
  attributes: Attributes[K],
  node: Tensor,
) => string;

/** Lowerings of all operators. */
export type Lowerings = { [K in OperatorName]: Lowering<K> };

const contrib = { domain: "com.microsoft" };
const same =
  (opType: string) =>
  (graph: GraphBuilder, inputs: readonly string[]): string =>
    graph.node(opType, inputs);

function notLowered(): never {
  throw new Error("inputs and variables are named by lower()");
}

/** One entry for each operator of a tensor program. */
const lowerings: Lowerings = {
  constant: (graph, _, { data, shape, dtype }) => graph.constant(data, shape, dtype),
  // Inputs and variables have their names before anything is lowered.
  input: notLowered,
  variable: notLowered,

  add: same("Add"),
  sub: same("Sub"),
  mul: same("Mul"),
  div: same("Div"),
  pow: same("Pow"),
  remainder: same("Mod"),
  maximum: same("Max"),
  minimum: same("Min"),
  cast: (graph, inputs, { dtype }) => graph.node("Cast", inputs, { to: elementType[dtype] }),
  stopGradient: same("Identity"),

  neg: same("Neg"),
  abs: same("Abs"),
  sign: same("Sign"),
  floor: same("Floor"),
  ceil: same("Ceil"),
  round: same("Round"),
  exp: same("Exp"),
  log: same("Log"),
  sqrt: same("Sqrt"),
  sin: same("Sin"),
  cos: same("Cos"),
  atan: same("Atan"),
  erf: same("Erf"),
  sigmoid: same("Sigmoid"),
  tanh: same("Tanh"),
  relu: same("Relu"),

  equal: same("Equal"),
  less: same("Less"),
  lessEqual: same("LessOrEqual"),
  and: same("And"),
  or: same("Or"),
  not: same("Not"),
  isNan: same("IsNaN"),
  where: same("Where"),

  sum: (graph, [x], { axes, keepDims }) => graph.node("ReduceSum", [x, graph.integers(axes)], { keepdims: +keepDims }),
  max: (graph, [x], { axes, keepDims }) => graph.node("ReduceMax", [x, graph.integers(axes)], { keepdims: +keepDims }),
  min: (graph, [x], { axes, keepDims }) => graph.node("ReduceMin", [x, graph.integers(axes)], { keepdims: +keepDims }),
  argmax: (graph, [x], { axis }) => toInt32(graph, graph.node("ArgMax", [x], { axis, keepdims: 0 })),
  argmin: (graph, [x], { axis }) => toInt32(graph, graph.node("ArgMin", [x], { axis, keepdims: 0 })),
  cumsum: (graph, [x], { axis, reverse }) =>
    graph.node("CumSum", [x, graph.integers([axis], [])], { reverse: +reverse }),

  reshape: (graph, [x], { shape }) => graph.node("Reshape", [x, graph.integers(shape)]),
  transpose: (graph, [x], { permutation }) => graph.node("Transpose", [x], { perm: permutation }),
  broadcastTo: (graph, [x], { shape }) => graph.node("Expand", [x, graph.integers(shape)]),
  slice: (graph, [x], { axis, start, end }) =>
    graph.node("Slice", [x, graph.integers([start]), graph.integers([end]), graph.integers([axis])]),
  concat: (graph, inputs, { axis }) => graph.node("Concat", inputs, { axis }),
  pad: (graph, [x], { before, after }) => graph.node("Pad", [x, graph.integers([...before, ...after])]),
  flip: (graph, [x], { axis }) =>
    graph.node("Slice", [x, ...[-1, Number.MIN_SAFE_INTEGER, axis, -1].map((n) => graph.integers([n]))]),

  matmul: (graph, inputs, { transposeA, transposeB, scale }) =>
    transposeA || transposeB || scale !== 1
      ? graph.node(
          "FusedMatMul",
          inputs,
          { transA: +transposeA, transB: +transposeB, alpha: { float: scale } },
          contrib,
        )
      : graph.node("MatMul", inputs),

  conv: (graph, inputs, attributes) => graph.node("Conv", inputs, windowAttributes(attributes)),
  convInputGradient: (graph, inputs, attributes, node) => {
    const { size, stride, padding, dilation } = attributes;
    const [positions, kernel] = node.inputs.map(({ shape }) => shape.slice(2));
    // Elements at the end that the forward convolution's windows did not reach.
    const rest = size.map(
      (n, i) => n - ((positions[i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (kernel[i] - 1) + 1),
    );
    return graph.node("ConvTranspose", inputs, { ...windowAttributes(attributes), output_padding: rest });
  },
  // With batch and channels swapped, this is a convolution, too.
  convWeightGradient: (graph, [x, g], attributes, node) => {
    const { groups, kernel, stride, dilation, padding } = attributes;
    const [n, channels, ...size] = node.inputs[0].shape;
    const spatial = size.map((_, i) => i + 2);
    const inner = channels / groups;
    const grouped = graph.node("Reshape", [x, graph.integers([n, groups, inner, ...size])]);
    const turned = graph.node("Transpose", [grouped], { perm: [2, 1, 0, ...spatial.map((axis) => axis + 1)] });
    const images = graph.node("Reshape", [turned, graph.integers([inner, groups * n, ...size])]);
    const windows = graph.node("Transpose", [g], { perm: [1, 0, ...spatial] });
    const swapped = windowAttributes({ stride: dilation, dilation: stride, padding, groups });
    const product = graph.node("Conv", [images, windows], swapped);
    const cut = graph.node("Slice", [
      product,
      ...[kernel.map(() => 0), kernel, spatial].map((values) => graph.integers(values)),
    ]);
    return graph.node("Transpose", [cut], { perm: [1, 0, ...spatial] });
  },
  argMaxPool: (graph, [x], { kernel, stride, padding }, node) => {
    const size = node.inputs[0].shape.slice(2).reduce((a, b) => a * b, 1);
    const attributes = { kernel_shape: kernel, strides: stride, pads: [...padding, ...padding] };
    const positions = graph.node("MaxPool", [x], attributes, { result: 1 });
    return toInt32(graph, graph.node("Mod", [positions, graph.integers([size], [])]));
  },

  quantizeRows: (graph, inputs, _, node) => {
    const zeros = graph.constant(new Int8Array(node.shape[0]), node.shape.slice(0, 1), "int8");
    return graph.node("QuantizeLinear", [...inputs, zeros], { axis: 0 });
  },
  int8Matmul: (graph, inputs, { backward }, node) =>
    int8Product(graph, inputs, { rows: node.shape[0], shape: node.inputs[1].shape, backward }),
  nf4Matmul: (graph, inputs, attributes) => nf4Product(graph, inputs, attributes),
  nf4Dequantize: (graph, inputs, { shape }) => nf4Full(graph, inputs, shape),

  gather: (graph, inputs, { axis }) => graph.node("Gather", inputs, { axis }),
  scatter: (graph, [x, indices, updates], _, node) => {
    const rows = node.inputs[1].size;
    const places = graph.node("Cast", [indices], { to: elementType.int64 });
    const column = graph.node("Reshape", [places, graph.integers([rows, 1])]);
    const flat = graph.node("Reshape", [updates, graph.integers([rows, ...node.shape.slice(1)])]);
    return graph.node("ScatterND", [x, column, flat]);
  },
  takeAlongAxis: (graph, inputs, { axis }) => graph.node("GatherElements", inputs, { axis }),
  scatterAddAlongAxis: (graph, inputs, { axis }) => graph.node("ScatterElements", inputs, { axis, reduction: "add" }),
  argTopK: (graph, [x], { axis, k, largest }) =>
    toInt32(graph, graph.node("TopK", [x, graph.integers([k])], { axis, largest: +largest }, { result: 1 })),
  // ScatterElements adds in order, so that sums do not depend on the number of threads; ScatterND does not.
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
  layerNorm: (graph, inputs, { epsilon }) =>
    graph.node("LayerNormalization", inputs, { axis: -1, epsilon: { float: epsilon } }),
  rotary: (graph, [x, positions, cos, sin], { inverse }) => {
    const turn = inverse ? graph.node("Neg", [sin]) : sin;
    const rows = graph.node("Cast", [positions], { to: elementType.int64 });
    return graph.node("RotaryEmbedding", [x, rows, cos, turn], { interleaved: 0 }, contrib);
  },

  randomBits: (graph, [key], { shape }) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const word = (value: string) => graph.node("Cast", [value], { to: elementType.uint32 });
    const flatKey = word(graph.node("Reshape", [key, graph.integers([1])]));
    const counter = word(
      graph.constant(
        Int32Array.from({ length: count }, (_, i) => i),
        [count],
        "int32",
      ),
    );
    const low = mixBits(graph, graph.node("BitwiseXor", [counter, flatKey]));
    const offset = graph.node("Mul", [flatKey, unsigned(graph, 0x9e3779b9)]);
    const bits = mixBits(graph, graph.node("Add", [low, offset]));
    return graph.node("Reshape", [toInt32(graph, shiftRight(graph, bits, 8)), graph.integers(shape)]);
  },
  custom: (graph, [value]) => graph.node("Identity", [value]),
  after: (graph, inputs, _, node) => sharedAfter(graph, inputs, node),
};

const toInt32 = (graph: GraphBuilder, value: string) => graph.node("Cast", [value], { to: elementType.int32 });

function windowAttributes({ stride, padding, dilation, groups }: Omit<Attributes["conv"], "kernel">) {
  return { strides: stride, pads: [...padding, ...padding], dilations: dilation, group: groups };
}

/** Returns a uint32 of shape [1]. */
function unsigned(graph: GraphBuilder, value: number): string {
  return graph.node("Cast", [graph.integers([value])], { to: elementType.uint32 });
}

const shiftRight = (graph: GraphBuilder, value: string, places: number) =>
  graph.node("BitShift", [value, unsigned(graph, places)], { direction: "RIGHT" });

/** The finalizer of `randomBits` in `tensor/random.ts`. */
function mixBits(graph: GraphBuilder, value: string): string {
  const fold = (x: string, places: number) => graph.node("BitwiseXor", [x, shiftRight(graph, x, places)]);
  const first = graph.node("Mul", [fold(value, 16), unsigned(graph, 0x85ebca6b)]);
  const second = graph.node("Mul", [fold(first, 13), unsigned(graph, 0xc2b2ae35)]);
  return fold(second, 16);
}

function scalar(graph: GraphBuilder, value: number): string {
  return graph.constant(Float32Array.of(value), [], "float32");
}

/** Returns labels as a column of valid indices, and which of them are ignored (-100). */
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

/**
 * Names of the inputs and outputs of a lowered program. They are positional, so that equal programs have equal bytes,
 * whatever their variables are called.
 */
export const graphNames = {
  input: (i: number) => `input:${i}`,
  variable: (i: number) => `variable:${i}`,
  output: (i: number) => `output:${i}`,
  update: (i: number) => `update:${i}`,
  /** First result on the CPU, of a type that the binding cannot return: see the session runner. */
  end: "end",
};

/** Elements from which a result is worth freeing early; smaller programs start faster with static shapes. */
const largeSize = 1 << 22;

/** Encodes a program as an ONNX model, with operators that are fast on the device. */
export function lower(program: Program, device: DeviceName): Uint8Array {
  const table: Lowerings = device === "webgpu" ? { ...lowerings, ...webgpuLowerings } : lowerings;
  const graph = new GraphBuilder({
    hideShapes: device === "cpu" && program.nodes.some(({ size }) => size >= largeSize),
  });
  const names = new Map<Tensor, string>();
  for (const [i, node] of program.inputs.entries()) {
    const { shape, dtype } = node;
    const name = graphNames.input(i);
    graph.input(name, shape, borderType(dtype));
    // 16-bit floats are float32 on the host.
    names.set(node, borderType(dtype) === dtype ? name : graph.node("Cast", [name], { to: elementType[dtype] }));
  }
  for (const [i, node] of program.variables.entries()) {
    if (node.dtype === "bfloat16" && device === "webgpu") {
      throw new EngineError(
        `The variable ${node.attributes.name} is bfloat16, which WebGPU does not support: use float16 or float32.`,
      );
    }
    graph.input(graphNames.variable(i), node.shape, storedType(node.dtype));
    names.set(node, graphNames.variable(i));
  }
  const nameOf = (t: Tensor) => {
    const name = names.get(t);
    if (name === undefined) throw new Error(`${t.operator.name} is used before it is defined`);
    return name;
  };
  // Each reader of a bfloat16 variable casts its bits separately; a shared copy would stay in memory until the last read.
  const operandOf = (t: Tensor) =>
    isStoredBfloat16(t) ? graph.node("BitCast", [nameOf(t)], { to: elementType.bfloat16 }) : nameOf(t);
  for (const node of program.nodes) {
    if (names.has(node)) continue;
    if (node.operator.name === "gather" && isStoredBfloat16(node.inputs[0])) {
      // Casts only the gathered rows: casting the table would copy it.
      const rows = lowerNode(table, graph, node, node.inputs.map(nameOf));
      names.set(node, graph.node("BitCast", [rows], { to: elementType.bfloat16 }));
      continue;
    }
    const resolve = passThrough.has(node.operator.name) ? nameOf : operandOf;
    names.set(node, lowerNode(table, graph, node, node.inputs.map(resolve)));
  }
  if (device === "cpu") graph.sequenceOutput(graphNames.end);
  const written = new Set<string>();
  const emitOutput = (name: string, t: Tensor, copy = false) => {
    const current = nameOf(t);
    // A result that is returned once is written directly to its output; leaves and shared results are copied.
    if (t.inputs.length > 0 && !written.has(current) && !copy) {
      graph.rename(current, name);
      names.set(t, name);
    } else {
      graph.node("Identity", [current], {}, { output: name });
    }
    written.add(name);
    graph.output(name, t.shape, storedType(t.dtype));
  };
  for (const [i, t] of Object.values(program.outputs).entries()) {
    if (borderType(t.dtype) === t.dtype) {
      emitOutput(graphNames.output(i), t);
    } else {
      graph.node("Cast", [operandOf(t)], { to: elementType.float32 }, { output: graphNames.output(i) });
      graph.output(graphNames.output(i), t.shape, borderType(t.dtype));
    }
  }
  for (const [i, [name, t]] of Object.entries(program.updates).entries()) {
    // A WebGPU shader cannot read and write the same buffer: in-place updates are computed separately, then copied.
    const aliased = program.inPlace.has(name) && t.inputs.some(({ operator }) => operator.name === "variable");
    if (t.dtype === "bfloat16" && !isStoredBfloat16(t)) {
      graph.node("BitCast", [nameOf(t)], { to: elementType.uint16 }, { output: graphNames.update(i) });
      graph.output(graphNames.update(i), t.shape, storedType(t.dtype));
    } else {
      emitOutput(graphNames.update(i), t, device === "webgpu" && aliased);
    }
  }
  return graph.encode();
}

/** Operators that return their first input, and do not read the values of the others. */
const passThrough: ReadonlySet<OperatorName> = new Set<OperatorName>(["custom", "after"]);

/** Whether a tensor's name refers to the bits of a bfloat16 variable, which still need a cast. */
function isStoredBfloat16(t: Tensor): boolean {
  if (t.dtype !== "bfloat16") return false;
  return passThrough.has(t.operator.name) ? isStoredBfloat16(t.inputs[0]) : t.operator.name === "variable";
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
