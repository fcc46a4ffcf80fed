import { matmul, type Tensor } from "../tensor/index.ts";

/**
 * x W^T, the projection of a layer without bias.
 * @param x float32 [n, in]
 * @param weight float32 [out, in], as checkpoints store it
 */
export function linear(x: Tensor, weight: Tensor): Tensor {
  return matmul(x, weight, { transposeB: true });
}
