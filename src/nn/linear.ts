import { matmul, type QuantizedWeight, quantizedMatmul, Tensor } from "../tensor/index.ts";

/**
 * x W^T, the projection of a layer without bias.
 * @param x float32 [n, in]
 * @param weight float32 [out, in], as checkpoints store it, or its quantised form
 */
export function linear(x: Tensor, weight: Tensor | QuantizedWeight): Tensor {
  if (!(weight instanceof Tensor)) return quantizedMatmul(x, weight);
  return matmul(x, weight, { transposeB: true });
}
