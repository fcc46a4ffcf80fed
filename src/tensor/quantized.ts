import { operator, ShapeError, showShape } from "./operator.ts";
import type { Tensor } from "./tensor.ts";

export interface QuantizedAttributes {
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
