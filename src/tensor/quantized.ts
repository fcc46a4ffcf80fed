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
    /** Whether x is multiplied by W (in the backward pass) instead of its transpose. */
    readonly backward: boolean;
  };
  nf4Matmul: { readonly shape: Shape; readonly backward: boolean };
  nf4Dequantize: { readonly shape: Shape };
}

/** A frozen int8 matrix: row i is `scale[i] * values[i]`. */
export interface Int8Weight {
  readonly kind: "int8";
  /** int8 [out, in], each from -127 to 127. */
  readonly values: Tensor;
  /** float32 [out] */
  readonly scale: Tensor;
}

/**
 * A frozen 4-bit matrix with double quantization (QLoRA, Dettmers et al. 2023). Each block of 64 values in row-major order
 * is `absmax * levels[code]`; the absmax values are themselves quantized to 8 bits.
 */
export interface Nf4Weight {
  readonly kind: "nf4";
  /** [out, in] */
  readonly shape: Shape;
  /** uint8 [out * in / 2], rounded up: two codes per byte, the first in the high half. */
  readonly codes: Tensor;
  /** uint8 [blocks]: indices into the 256 dynamic 8-bit levels. */
  readonly absmaxCodes: Tensor;
  /** float32 [blocks / 256], rounded up. */
  readonly absmaxScale: Tensor;
  /** float32 [1] */
  readonly absmaxOffset: Tensor;
}

/** A frozen quantized matrix [out, in]. */
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
    // The gradient treats rounding as the identity.
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
  const actual = parts.map((t) => `${t.dtype} ${showShape(t.shape)}`);
  if (shape.length === 2 && actual.join() === expected.join()) return;
  throw new ShapeError(
    `${name}: an nf4 weight of shape ${showShape(shape)} needs a shape [out, in], and codes, absmaxCodes, absmaxScale and absmaxOffset of ${expected.join(", ")}; got ${actual.join(", ")}`,
  );
}

const nf4Parts = ({ codes, absmaxCodes, absmaxScale, absmaxOffset }: Nf4Weight) => [
  codes,
  absmaxCodes,
  absmaxScale,
  absmaxOffset,
];

/**
 * x W^T for a frozen, quantized W; differentiable in x only.
 *
 * int8: each row of x is rounded to 8 bits with its own scale, and the product is accumulated in integers (LLM.int8(),
 * Dettmers et al. 2022, without outliers); the gradient is computed in the same way. nf4: the weight is dequantized to
 * float32 in blocks for a float32 product.
 * @param x float32 [n, in]
 * @returns float32 [n, out]
 * @throws ShapeError when x does not fit the weight
 */
export function quantizedMatmul(x: Tensor, weight: QuantizedWeight): Tensor {
  return weight.kind === "int8"
    ? int8MatmulOperator([x, weight.values, weight.scale], { backward: false })
    : nf4MatmulOperator([x, ...nf4Parts(weight)], { shape: weight.shape, backward: false });
}

/** Dequantizes W to float32 [out, in]. No gradient flows through an nf4 weight. */
export function dequantize(weight: QuantizedWeight): Tensor {
  if (weight.kind === "nf4") return nf4DequantizeOperator(nf4Parts(weight), { shape: weight.shape });
  return weight.values.cast("float32").mul(weight.scale.reshape([weight.scale.size, 1]));
}

const quantizeRowsOperator = operator({
  name: "quantizeRows",
  infer: ([x, scale]) => {
    if (x.shape.length !== 2 || showShape(scale.shape) !== showShape(x.shape.slice(0, 1))) {
      throw new ShapeError(
        `quantizeRows: expected x [rows, columns] and scale [rows]; got ${showShape(x.shape)} and ${showShape(scale.shape)}`,
      );
    }
    return { shape: x.shape, dtype: "int8" };
  },
});

/** Quantizes a matrix to int8 with one scale per row. No gradient flows through it. */
export function quantize(weight: Tensor): Int8Weight {
  const scale = maximum(abs(weight).max([1]), 1e-30).mul(1 / 127);
  return { kind: "int8", values: quantizeRowsOperator([weight, scale], {}), scale };
}

/**
 * x W^T, where the product and the gradient of x are computed in int8 and the gradient of W in full precision (SwitchBack,
 * Wortsman et al. 2023): for full training.
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
