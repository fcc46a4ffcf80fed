import type { None } from "./attributes.ts";
import { customGradient } from "./custom.ts";
import { maximum } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import type { Tensor } from "./tensor.ts";
import { abs } from "./unary.ts";

export interface QuantizedAttributes {
  quantizeRows: None;
  quantizedMatmul: {
    /** Whether x runs along the weight's rows (a gradient on its way back) instead of its columns. */
    readonly backward: boolean;
  };
}

/** A frozen matrix in 8 bits: row i is `scale[i] * values[i]`. */
export interface QuantizedWeight {
  /** int8 [out, in], each from -127 to 127. */
  readonly values: Tensor;
  /** The same, int8 [in, out]: a product of bytes cannot transpose on the way. */
  readonly transposed: Tensor;
  /** float32 [out] */
  readonly scale: Tensor;
}

const quantizedMatmulOperator: (
  inputs: readonly Tensor[],
  attributes: QuantizedAttributes["quantizedMatmul"],
) => Tensor = operator({
  name: "quantizedMatmul",
  infer: ([x, values, transposed, scale], { backward }) => {
    const [out, width] = values.shape;
    const fits =
      x.shape.length === 2 &&
      x.dtype === "float32" &&
      values.dtype === "int8" &&
      transposed.dtype === "int8" &&
      x.shape[1] === (backward ? out : width) &&
      showShape(transposed.shape) === showShape([width, out]) &&
      showShape(scale.shape) === showShape([out]);
    if (!fits) {
      throw new ShapeError(
        `quantizedMatmul: x ${x.dtype} ${showShape(x.shape)} does not fit weights ${values.dtype} ${showShape(values.shape)}, transposed ${showShape(transposed.shape)}, scale ${showShape(scale.shape)}`,
      );
    }
    return { shape: [x.shape[0], backward ? width : out], dtype: "float32" };
  },
  // Rounding has no slope worth the name: it counts as the identity.
  gradient: (g, node) => {
    const [, values, transposed, scale] = node.inputs;
    const backward = !node.attributes.backward;
    return [quantizedMatmulOperator([g, values, transposed, scale], { backward }), undefined, undefined, undefined];
  },
});

/**
 * x W^T for a frozen W in 8 bits. Each row of x is rounded to 8 bits by its own largest value, the product is summed in
 * whole numbers (LLM.int8(), Dettmers et al. 2022, without outliers); the gradient is computed the same way.
 * @param x float32 [n, in]
 */
export function quantizedMatmul(x: Tensor, { values, transposed, scale }: QuantizedWeight): Tensor {
  return quantizedMatmulOperator([x, values, transposed, scale], { backward: false });
}

/** W in full again: float32 [out, in]. */
export function dequantize({ values, scale }: QuantizedWeight): Tensor {
  return values.cast("float32").mul(scale.reshape([scale.size, 1]));
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
export function quantize(weight: Tensor): QuantizedWeight {
  const scale = maximum(abs(weight).max([1]), 1e-30).mul(1 / 127);
  const values = quantizeRowsOperator([weight, scale], {});
  return { values, transposed: values.transpose(), scale };
}

/**
 * x W^T with the product, and the gradient of x, in 8 bits, and the gradient of W in full precision (SwitchBack, Wortsman
 * et al. 2023): for training every weight.
 * @param x float32 [n, in]
 * @param weight float32 [out, in]
 */
export function switchback(x: Tensor, weight: Tensor): Tensor {
  const { values, transposed, scale } = quantize(weight);
  return customGradient({
    forward: (input) => quantizedMatmulOperator([input, values, transposed, scale], { backward: false }),
    backward: (g, _, input) => [
      quantizedMatmulOperator([g, values, transposed, scale], { backward: true }),
      matmul(g, input, { transposeA: true }),
    ],
  })(x, weight);
}
