import proto from "onnx-proto";
import type { DType, Shape, TensorData } from "../../tensor/index.ts";
import { hideShapes } from "./shapes.ts";

const { onnx } = proto;
const { DataType } = onnx.TensorProto;
const { AttributeType } = onnx.AttributeProto;

/** ONNX element types of our dtypes. */
export const elementType: Record<DType | "uint16" | "uint32", number> = {
  float32: DataType.FLOAT,
  float16: DataType.FLOAT16,
  bfloat16: DataType.BFLOAT16,
  int8: DataType.INT8,
  uint8: DataType.UINT8,
  int32: DataType.INT32,
  int64: DataType.INT64,
  bool: DataType.BOOL,
  uint16: DataType.UINT16,
  uint32: DataType.UINT32,
};

type Attribute = number | readonly number[] | string | { float: number };

/** Builds an ONNX graph of nodes and initializers, and encodes it. Values are referred to by name. */
export class GraphBuilder {
  readonly #nodes: proto.onnx.INodeProto[] = [];
  readonly #initializers: proto.onnx.ITensorProto[] = [];
  readonly #inputs: proto.onnx.IValueInfoProto[] = [];
  readonly #outputs: proto.onnx.IValueInfoProto[] = [];
  readonly #integers = new Map<string, string>();
  readonly #renamed = new Map<string, string>();
  readonly #hidesShapes: boolean;
  #count = 0;

  /** @param options.hideShapes whether to hide shapes from the runtime's memory planner: see shapes.ts */
  constructor({ hideShapes = false }: { hideShapes?: boolean } = {}) {
    this.#hidesShapes = hideShapes;
  }

  /**
   * Adds a node and returns the name of its result.
   * @param options.result index of the result, for nodes with several
   */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    options: { domain?: string; output?: string; result?: number } = {},
  ): string {
    const output = options.output ?? `${opType}_${this.#count++}`;
    const unusedOutputs = Array.from({ length: options.result ?? 0 }, (_, i) => `${output}_other_${i}`);
    this.#nodes.push({
      opType,
      domain: options.domain ?? "",
      name: output,
      input: [...inputs],
      output: [...unusedOutputs, output],
      attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    });
    return output;
  }

  /** Renames a node's result everywhere. */
  rename(from: string, to: string): void {
    this.#renamed.set(from, to);
  }

  /** Adds a constant. */
  constant(data: TensorData, shape: Shape, dtype: DType): string {
    if (dtype === "float16" || dtype === "bfloat16") {
      return this.node("Cast", [this.constant(data, shape, "float32")], { to: elementType[dtype] });
    }
    if (dtype === "int64") return this.integers(Array.from(data), shape);
    const name = `constant_${this.#count++}`;
    this.#initializers.push({
      name,
      dims: [...shape],
      dataType: elementType[dtype],
      rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    });
    return name;
  }

  /** Adds integers for shapes and axes as int64; equal ones are shared. */
  integers(values: readonly number[], shape: Shape = [values.length]): string {
    const key = `${values}:${shape}`;
    const existing = this.#integers.get(key);
    if (existing) return existing;
    const name = `integers_${this.#count++}`;
    const data = BigInt64Array.from(values, BigInt);
    this.#initializers.push({
      name,
      dims: [...shape],
      dataType: elementType.int64,
      rawData: new Uint8Array(data.buffer),
    });
    this.#integers.set(key, name);
    return name;
  }

  /** Adds an input that is passed at each run; a size of -1 means any size. */
  input(name: string, shape: Shape, dtype: DType | "uint16"): void {
    this.#inputs.push(valueInfo(name, shape, dtype));
  }

  output(name: string, shape: Shape, dtype: DType | "uint16"): void {
    this.#outputs.push(valueInfo(name, shape, dtype));
  }

  /** Adds an output that is an empty sequence. */
  sequenceOutput(name: string): void {
    this.node("SequenceEmpty", [], {}, { output: name });
    const elemType = { tensorType: { elemType: elementType.float32 } };
    this.#outputs.push({ name, type: { sequenceType: { elemType } } });
  }

  encode(): Uint8Array {
    // Newer operator sets are used only for programs that need them, because not every device supports all of them.
    if (this.#hidesShapes) hideShapes(this, this.#nodes, this.#inputs, this.#initializers);
    const named = (name: string) => this.#renamed.get(name) ?? name;
    const nodes = this.#nodes.map((node) => {
      return { ...node, input: node.input?.map(named) ?? [], output: node.output?.map(named) ?? [] };
    });
    const needsBitCast = nodes.some(({ opType }) => opType === "BitCast");
    const model = onnx.ModelProto.create({
      irVersion: needsBitCast ? 11 : 8,
      producerName: "anneal",
      opsetImport: [
        { domain: "", version: needsBitCast ? 26 : 18 },
        { domain: "com.microsoft", version: 1 },
      ],
      graph: {
        name: "program",
        // The runtime walks from the results to their inputs, latest node first. In reverse order, nodes run in the order
        // in which they were built, and a gradient's inputs are consumed before the next ones are computed.
        node: nodes.reverse(),
        initializer: this.#initializers,
        input: this.#inputs,
        output: this.#outputs,
      },
    });
    return onnx.ModelProto.encode(model).finish();
  }
}

function attribute(name: string, value: Attribute): proto.onnx.IAttributeProto {
  if (typeof value === "string") return { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) };
  if (typeof value === "number") return { name, type: AttributeType.INT, i: value };
  if ("float" in value) return { name, type: AttributeType.FLOAT, f: value.float };
  return { name, type: AttributeType.INTS, ints: [...value] };
}

function valueInfo(name: string, shape: Shape, dtype: DType | "uint16"): proto.onnx.IValueInfoProto {
  return {
    name,
    type: {
      tensorType: { elemType: elementType[dtype], shape: { dim: shape.map((n) => (n < 0 ? {} : { dimValue: n })) } },
    },
  };
}
