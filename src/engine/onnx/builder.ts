import proto from "onnx-proto";
import type { DType, Shape, TensorData } from "../../tensor/index.ts";
import { hideShapes } from "./shapes.ts";

const { onnx } = proto;
const { DataType } = onnx.TensorProto;
const { AttributeType } = onnx.AttributeProto;

/** ONNX's number for each of our dtypes. */
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

/** Collects nodes and initializers of one ONNX graph, and encodes it. Values are referred to by name. */
export class GraphBuilder {
  readonly #nodes: proto.onnx.INodeProto[] = [];
  readonly #initializers: proto.onnx.ITensorProto[] = [];
  readonly #inputs: proto.onnx.IValueInfoProto[] = [];
  readonly #outputs: proto.onnx.IValueInfoProto[] = [];
  readonly #integers = new Map<string, string>();
  readonly #renamed = new Map<string, string>();
  readonly #hidesShapes: boolean;
  #count = 0;

  /** @param options.hideShapes whether the runtime is kept from knowing shapes before it computes: see shapes.ts */
  constructor({ hideShapes = false }: { hideShapes?: boolean } = {}) {
    this.#hidesShapes = hideShapes;
  }

  /**
   * Add a node and return the name of its result.
   * @param options.result which of a node's several results, from 0
   */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    options: { domain?: string; output?: string; result?: number } = {},
  ): string {
    const output = options.output ?? `${opType}_${this.#count++}`;
    const others = Array.from({ length: options.result ?? 0 }, (_, i) => `${output}_other_${i}`);
    this.#nodes.push({
      opType,
      domain: options.domain ?? "",
      name: output,
      input: [...inputs],
      output: [...others, output],
      attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    });
    return output;
  }

  /** Give a node's result another name, wherever it is used. */
  rename(from: string, to: string): void {
    this.#renamed.set(from, to);
  }

  /** A value known when the graph is built. */
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

  /** Whole numbers as ONNX wants them for shapes and axes: int64, shared when equal. */
  integers(values: readonly number[], shape: Shape = [values.length]): string {
    const key = `${values}:${shape}`;
    const known = this.#integers.get(key);
    if (known) return known;
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

  /** A value handed in at each run; a size of -1 may be any. */
  input(name: string, shape: Shape, dtype: DType | "uint16"): void {
    this.#inputs.push(valueInfo(name, shape, dtype));
  }

  output(name: string, shape: Shape, dtype: DType | "uint16"): void {
    this.#outputs.push(valueInfo(name, shape, dtype));
  }

  /** A result that is an empty sequence. */
  sequenceOutput(name: string): void {
    this.node("SequenceEmpty", [], {}, { output: name });
    const elemType = { tensorType: { elemType: elementType.float32 } };
    this.#outputs.push({ name, type: { sequenceType: { elemType } } });
  }

  encode(): Uint8Array {
    // Only what needs the newer operators is written in them: not every device has all of them.
    if (this.#hidesShapes) hideShapes(this, this.#nodes, this.#inputs, this.#initializers);
    const named = (name: string) => this.#renamed.get(name) ?? name;
    const nodes = this.#nodes.map((node) => {
      return { ...node, input: node.input?.map(named) ?? [], output: node.output?.map(named) ?? [] };
    });
    const recent = nodes.some(({ opType }) => opType === "BitCast");
    const model = onnx.ModelProto.create({
      irVersion: recent ? 11 : 8,
      producerName: "anneal",
      opsetImport: [
        { domain: "", version: recent ? 26 : 18 },
        { domain: "com.microsoft", version: 1 },
      ],
      graph: {
        name: "program",
        // The runtime walks from the results to what they need, latest node first: in reverse, what was built first is
        // computed first, and a gradient's ingredients are used up before the next ones are made.
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
