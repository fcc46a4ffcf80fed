import { matmul, type QuantizedWeight, quantizedMatmul, switchback, Tensor } from "../tensor/index.ts";

/** What products are computed in: float32, or bytes where a gradient bears it ({@link switchback}). */
export type Precision = "float32" | "int8";

/**
 * x W^T, the projection of a layer without bias.
 * @param x float32 [n, in]
 * @param weight float32 [out, in], as checkpoints store it, or its quantised form
 */
export function linear(x: Tensor, weight: Tensor | QuantizedWeight, precision: Precision = "float32"): Tensor {
  if (!(weight instanceof Tensor)) return quantizedMatmul(x, weight);
  if (precision === "int8") return switchback(x, weight);
  return matmul(x, weight, { transposeB: true });
}
