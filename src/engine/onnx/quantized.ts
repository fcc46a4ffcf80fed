import { readFileSync } from "node:fs";
import { dynamicLevels, nf4Block, nf4Group, nf4Levels, type Shape } from "../../tensor/index.ts";
import { elementType, type GraphBuilder } from "./builder.ts";

/**
 * Whether the processor accumulates products of bytes in 32 bits. Others add pairs of products in 16 bits with saturation;
 * there, one operand is limited to 7 bits.
 */
const wideSums = (() => {
  if (process.arch !== "x64") return true;
  try {
    return /\b(avx512_vnni|avx_vnni|amx_int8)\b/.test(readFileSync("/proc/cpuinfo", "utf8"));
  } catch {
    return false; // Only Linux has this file.
  }
})();

/** Quantized value of a row's largest magnitude. */
const levels = wideSums ? 127 : 63;

/** Maximum bytes of a transposed part of an int8 weight. */
const transposedLimit = 64e6;

/** Maximum bytes of a dequantized part of an nf4 weight; temporaries need 1.5 times more. */
const expandedLimit = 32e6;

const contrib = { domain: "com.microsoft" };
const number = (graph: GraphBuilder, value: number) => graph.constant(Float32Array.of(value), [], "float32");
const slice = (graph: GraphBuilder, x: string, start: number, end: number, axis = 0) =>
  graph.node("Slice", [x, graph.integers([start]), graph.integers([end]), graph.integers([axis])]);
const concat = (graph: GraphBuilder, parts: readonly string[]) =>
  parts.length === 1 ? parts[0] : graph.node("Concat", parts, { axis: 1 });

/** Splits a length into [start, end] ranges of `size`; the last may be shorter. */
function parts(length: number, size: number): [start: number, end: number][] {
  return Array.from({ length: Math.ceil(length / size) }, (_, i) => [i * size, Math.min(length, (i + 1) * size)]);
}

/**
 * Multiplies x [rows, in] by the transpose of int8 `values` [out, in] with one scale per row; backward, x [rows, out] by the
 * weight itself. The rows of x are quantized to int8 by their largest magnitude.
 */
export function int8Product(
  graph: GraphBuilder,
  [x, values, scale]: readonly string[],
  { rows, shape: [out, width], backward }: { rows: number; shape: Shape; backward: boolean },
): string {
  const one = number(graph, 1);
  // The runtime's fast product needs one unsigned operand, with the zero point in the middle.
  const middle = graph.constant(Uint8Array.of(levels + 1), [], "uint8");
  const scaled = backward ? graph.node("Mul", [x, scale]) : x;
  const largest = graph.node("ReduceMax", [graph.node("Abs", [scaled]), graph.integers([1])], { keepdims: 1 });
  const unit = graph.node("Max", [graph.node("Mul", [largest, number(graph, 1 / levels)]), number(graph, 1e-30)]);
  const zeros = graph.constant(new Uint8Array(rows).fill(levels + 1), [rows], "uint8");
  const units = graph.node("Reshape", [unit, graph.integers([-1])]);
  const bytes = graph.node("QuantizeLinear", [scaled, units, zeros], { axis: 0 });
  const product = (weight: string, columnScale: string) =>
    graph.node("MatMulIntegerToFloat", [bytes, weight, one, columnScale, middle], {}, contrib);
  if (backward) return graph.node("Mul", [product(values, one), unit]);
  const pieces = parts(out, Math.max(1, Math.floor(transposedLimit / width)));
  const products = pieces.map(([start, end]) => {
    const whole = pieces.length === 1;
    const part = whole ? values : slice(graph, values, start, end);
    const turned = graph.node("Transpose", [part], { perm: [1, 0] });
    return product(turned, whole ? scale : slice(graph, scale, start, end));
  });
  return graph.node("Mul", [concat(graph, products), unit]);
}

/** Graph nodes of an nf4 weight, with dequantized absmax values. */
class Nf4Parts {
  readonly #graph: GraphBuilder;
  readonly #codes: string;
  readonly #absmax: string;
  readonly #shape: Shape;
  readonly #table: string;

  constructor(graph: GraphBuilder, [codes, absmaxCodes, absmaxScale, absmaxOffset]: readonly string[], shape: Shape) {
    this.#graph = graph;
    this.#codes = codes;
    this.#shape = shape;
    const blocks = Math.ceil((shape[0] * shape[1]) / nf4Block);
    const groups = Math.ceil(blocks / nf4Group);
    const rest = graph.node("Gather", [
      graph.constant(dynamicLevels, [dynamicLevels.length], "float32"),
      graph.node("Cast", [absmaxCodes], { to: elementType.int32 }),
    ]);
    const column = graph.node("Reshape", [absmaxScale, graph.integers([groups, 1])]);
    const repeated = graph.node("Expand", [column, graph.integers([groups, nf4Group])]);
    const scales = graph.node("Reshape", [repeated, graph.integers([groups * nf4Group])]);
    const blockScales = groups * nf4Group === blocks ? scales : slice(graph, scales, 0, blocks);
    this.#absmax = graph.node("Add", [graph.node("Mul", [rest, blockScales]), absmaxOffset]);
    const pairs = new Float32Array(2 * 256);
    for (let byte = 0; byte < 256; byte++) {
      pairs[2 * byte] = nf4Levels[byte >> 4];
      pairs[2 * byte + 1] = nf4Levels[byte & 15];
    }
    this.#table = graph.constant(pairs, [256, 2], "float32");
  }

  /** Returns ranges of rows that start at a block and at a byte. */
  rows(): [start: number, end: number][] {
    const [out, width] = this.#shape;
    let step = 1;
    while ((step * width) % nf4Block !== 0) step *= 2;
    return parts(out, Math.max(1, Math.floor(expandedLimit / (4 * width * step))) * step);
  }

  /** Slices the codes and absmax values of some rows. */
  #slices(start: number, end: number): [codes: string, absmax: string] {
    const [out, width] = this.#shape;
    if (start === 0 && end === out) return [this.#codes, this.#absmax];
    return [
      slice(this.#graph, this.#codes, (start * width) / 2, Math.ceil((end * width) / 2)),
      slice(this.#graph, this.#absmax, (start * width) / nf4Block, Math.ceil((end * width) / nf4Block)),
    ];
  }

  /** Multiplies x by the transpose of some rows. */
  product(x: string, start: number, end: number): string {
    const attributes = { K: this.#shape[1], N: end - start, block_size: nf4Block, quant_type: 1 };
    return this.#graph.node("MatMulBnb4", [x, ...this.#slices(start, end)], attributes, contrib);
  }

  /** Dequantizes some rows to float32. */
  expand(start: number, end: number): string {
    const graph = this.#graph;
    const count = (end - start) * this.#shape[1];
    const blocks = Math.ceil(count / nf4Block);
    const [codes, absmax] = this.#slices(start, end);
    const indices = graph.node("Cast", [codes], { to: elementType.int32 });
    const pairs = graph.node("Gather", [this.#table, indices], { axis: 0 });
    const flat = graph.node("Reshape", [pairs, graph.integers([-1])]);
    const missing = blocks * nf4Block - 2 * Math.ceil(count / 2);
    const whole = missing === 0 ? flat : graph.node("Pad", [flat, graph.integers([0, missing])]);
    const values = graph.node("Mul", [
      graph.node("Reshape", [whole, graph.integers([blocks, nf4Block])]),
      graph.node("Reshape", [absmax, graph.integers([blocks, 1])]),
    ]);
    const exact =
      blocks * nf4Block === count
        ? values
        : slice(graph, graph.node("Reshape", [values, graph.integers([-1])]), 0, count);
    return graph.node("Reshape", [exact, graph.integers([end - start, this.#shape[1]])]);
  }
}

/**
 * Multiplies x [rows, in] by the transpose of an nf4 weight; backward, x [rows, out] by the weight itself. Only a part of
 * the weight's rows is dequantized at a time.
 */
export function nf4Product(
  graph: GraphBuilder,
  [x, ...names]: readonly string[],
  { shape, backward }: { shape: Shape; backward: boolean },
): string {
  const weight = new Nf4Parts(graph, names, shape);
  const pieces = weight.rows();
  if (!backward) {
    return concat(
      graph,
      pieces.map(([start, end]) => weight.product(x, start, end)),
    );
  }
  // MatMulBnb4 supports only the transposed product, whatever its attributes.
  // Each part is added before the next one is dequantized, so that the runtime holds only one at a time.
  return pieces.reduce((sum, [start, end]) => {
    const part = pieces.length === 1 ? x : slice(graph, x, start, end, 1);
    const product = graph.node("MatMul", [part, weight.expand(start, end)]);
    return sum ? graph.node("Add", [sum, product]) : product;
  }, "");
}

/** Dequantizes an nf4 weight to float32 [out, in]. */
export function nf4Full(graph: GraphBuilder, names: readonly string[], shape: Shape): string {
  const weight = new Nf4Parts(graph, names, shape);
  const pieces = weight.rows().map(([start, end]) => weight.expand(start, end));
  return pieces.length === 1 ? pieces[0] : graph.node("Concat", pieces, { axis: 0 });
}
