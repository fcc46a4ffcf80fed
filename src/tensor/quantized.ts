import type { None } from "./attributes.ts";
import { customGradient } from "./custom.ts";
import { maximum } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { nf4Block, nf4Group } from "./nf4.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import type { Shape, Tensor } from "./tensor.ts";
import { abs } from "./unary.ts";

export interface QuantizedAttributes {
  quantizeRows: None;
  int8Matmul: {
    /** Whether x is multiplied by W (a gradient on its way back) instead of its transpose. */
    readonly backward: boolean;
  };
  nf4Matmul: { readonly shape: Shape; readonly backward: boolean };
  nf4Dequantize: { readonly shape: Shape };
}

/** A frozen matrix in 8 bits: row i is `scale[i] * values[i]`. */
export interface Int8Weight {
  readonly kind: "int8";
  /** int8 [out, in], each from -127 to 127. */
  readonly values: Tensor;
  /** float32 [out] */
  readonly scale: Tensor;
}

/**
 * A frozen matrix in 4 bits with double quantisation (QLoRA, Dettmers et al. 2023). Each block of 64 values, counted
 * row by row over the whole matrix, is `absmax * levels[code]`, and the blocks' absmax are kept in 8 bits themselves.
 */
export interface Nf4Weight {
  readonly kind: "nf4";
  /** [out, in] */
  readonly shape: Shape;
  /** uint8 [out * in / 2], rounded up: two codes a byte, the first in the high half. */
  readonly codes: Tensor;
  /** uint8 [blocks]: indices into the 256 dynamic 8-bit levels. */
  readonly absmaxCodes: Tensor;
  /** float32 [blocks / 256], rounded up. */
  readonly absmaxScale: Tensor;
  /** float32 [1] */
  readonly absmaxOffset: Tensor;
}

/** A frozen matrix [out, in] in few bits. */
export type QuantizedWeight = Int8Weight | Nf4Weight;

const int8MatmulOperator: (inputs: readonly Tensor[], attributes: QuantizedAttributes["int8Matmul"]) => Tensor =
  operator({
    name: "int8Matmul",
    infer: ([x, values, scale], { backward }) => {
      const [out, width] = values.shape;
      const fits =
        x.shape.length === 2 &&
        x.dtype === "float32" &&
        values.dtype === "int8" &&
        values.shape.length === 2 &&
        x.shape[1] === (backward ? out : width) &&
        scale.dtype === "float32" &&
        showShape(scale.shape) === showShape([out]);
      if (!fits) {
        throw new ShapeError(
          `quantizedMatmul: x ${x.dtype} ${showShape(x.shape)} does not fit weights ${values.dtype} ${showShape(values.shape)} with scale ${scale.dtype} ${showShape(scale.shape)}`,
        );
      }
      return { shape: [x.shape[0], backward ? width : out], dtype: "float32" };
    },
    // Rounding has no useful slope: it counts as the identity.
    gradient: (g, node) => {
      const [, values, scale] = node.inputs;
      return [int8MatmulOperator([g, values, scale], { backward: !node.attributes.backward }), undefined, undefined];
    },
  });

const nf4MatmulOperator: (inputs: readonly Tensor[], attributes: QuantizedAttributes["nf4Matmul"]) => Tensor = operator(
  {
    name: "nf4Matmul",
    infer: ([x, ...parts], { shape, backward }) => {
      checkNf4("quantizedMatmul", parts, shape);
      const [out, width] = shape;
      if (x.shape.length !== 2 || x.dtype !== "float32" || x.shape[1] !== (backward ? out : width)) {
        throw new ShapeError(
          `quantizedMatmul: x ${x.dtype} ${showShape(x.shape)} does not fit weights nf4 ${showShape(shape)}`,
        );
      }
      return { shape: [x.shape[0], backward ? width : out], dtype: "float32" };
    },
    gradient: (g, node) => {
      const { shape, backward } = node.attributes;
      return [nf4MatmulOperator([g, ...node.inputs.slice(1)], { shape, backward: !backward })];
    },
  },
);

const nf4DequantizeOperator = operator({
  name: "nf4Dequantize",
  infer: (parts, { shape }) => {
    checkNf4("dequantize", parts, shape);
    return { shape, dtype: "float32" };
  },
});

function checkNf4(name: string, parts: readonly Tensor[], shape: Shape): void {
  const size = shape.reduce((product, n) => product * n, 1);
  const blocks = Math.ceil(size / nf4Block);
  const expected = [
    `uint8 ${showShape([Math.ceil(size / 2)])}`,
    `uint8 ${showShape([blocks])}`,
    `float32 ${showShape([Math.ceil(blocks / nf4Group)])}`,
    `float32 ${showShape([1])}`,
  ];
  const found = parts.map((t) => `${t.dtype} ${showShape(t.shape)}`);
  if (shape.length === 2 && found.join() === expected.join()) return;
  throw new ShapeError(
    `${name}: an nf4 weight of shape ${showShape(shape)} needs [out, in] as its shape, and codes, absmaxCodes, absmaxScale and absmaxOffset of ${expected.join(", ")}; got ${found.join(", ")}`,
  );
}

const nf4Parts = ({ codes, absmaxCodes, absmaxScale, absmaxOffset }: Nf4Weight) => [
  codes,
  absmaxCodes,
  absmaxScale,
  absmaxOffset,
];

/**
 * x W^T for a frozen W in few bits, with a gradient to x only.
 *
 * int8: each row of x is rounded to 8 bits by its own largest value and the product is summed in whole numbers
 * (LLM.int8(), Dettmers et al. 2022, without outliers); the gradient is computed the same way. nf4: the weight is turned
 * into float32 a part at a time and the product is a float32 one.
 * @param x float32 [n, in]
 * @returns float32 [n, out]
 * @throws ShapeError when x does not fit the weight
 */
export function quantizedMatmul(x: Tensor, weight: QuantizedWeight): Tensor {
  return weight.kind === "int8"
    ? int8MatmulOperator([x, weight.values, weight.scale], { backward: false })
    : nf4MatmulOperator([x, ...nf4Parts(weight)], { shape: weight.shape, backward: false });
}

/** W in full: float32 [out, in]. No gradient flows through an nf4 weight. */
export function dequantize(weight: QuantizedWeight): Tensor {
  if (weight.kind === "nf4") return nf4DequantizeOperator(nf4Parts(weight), { shape: weight.shape });
  return weight.values.cast("float32").mul(weight.scale.reshape([weight.scale.size, 1]));
}

const quantizeRowsOperator = operator({
  name: "quantizeRows",
  infer: ([x, scale]) => {
    if (x.shape.length !== 2 || showShape(scale.shape) !== showShape(x.shape.slice(0, 1))) {
      throw new ShapeError(
        `quantizeRows: x ${showShape(x.shape)} and scale ${showShape(scale.shape)} should be [rows, columns] and [rows]`,
      );
    }
    return { shape: x.shape, dtype: "int8" };
  },
});

/** A matrix in 8 bits: each row rounded by its own largest value. No gradient flows through it. */
export function quantize(weight: Tensor): Int8Weight {
  const scale = maximum(abs(weight).max([1]), 1e-30).mul(1 / 127);
  return { kind: "int8", values: quantizeRowsOperator([weight, scale], {}), scale };
}

/**
 * x W^T with the product, and the gradient of x, in 8 bits, and the gradient of W in full precision (SwitchBack, Wortsman
 * et al. 2023): for training every weight.
 * @param x float32 [n, in]
 * @param weight float32 [out, in]
 */
export function switchback(x: Tensor, weight: Tensor): Tensor {
  const { values, scale } = quantize(weight);
  return customGradient({
    forward: (input, _, bytes, unit) => int8MatmulOperator([input, bytes, unit], { backward: false }),
    backward: (g, _, input, __, bytes, unit) => [
      int8MatmulOperator([g, bytes, unit], { backward: true }),
      matmul(g, input, { transposeA: true }),
    ],
  })(x, weight, values, scale);
}
