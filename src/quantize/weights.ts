import { CompressedWeight } from "../nn/index.ts";
import {
  type DType,
  dequantize,
  Parameter,
  type QuantizedWeight,
  quantizedMatmul,
  type Shape,
  ShapeError,
  type Tensor,
  type TensorData,
} from "../tensor/index.ts";
import type { Int8Values } from "./int8.ts";
import type { Nf4Values } from "./nf4.ts";
import type { Quantizer } from "./pool.ts";

/** Quantization of frozen weights: "nf4" is 4-bit with double quantization (QLoRA), "int8" has one scale per row. */
export type Quantization = "nf4" | "int8";

/** Returns a frozen parameter with these values. */
function frozen(data: TensorData, shape: Shape, dtype: DType): Parameter {
  const created = new Parameter(shape, () => data, { dtype, requiresGrad: false });
  created.give(data);
  return created;
}

/** A matrix in int8 with one scale per row. */
export class Int8LinearWeight extends CompressedWeight {
  readonly kind = "int8";
  readonly shape: readonly [number, number];
  readonly values: Parameter;
  readonly scale: Parameter;

  constructor({ values, scale }: Int8Values, [out, width]: Shape) {
    super();
    this.shape = [out, width];
    this.values = frozen(values, [out, width], "int8");
    this.scale = frozen(scale, [out], "float32");
  }

  get #weight(): QuantizedWeight {
    return { kind: "int8", values: this.values, scale: this.scale };
  }

  forward(x: Tensor): Tensor {
    return quantizedMatmul(x, this.#weight);
  }

  dequantize(): Tensor {
    return dequantize(this.#weight);
  }
}

/** A matrix in NF4 with double quantization (Dettmers et al. 2023). */
export class Nf4LinearWeight extends CompressedWeight {
  readonly kind = "nf4";
  readonly shape: readonly [number, number];
  readonly codes: Parameter;
  readonly absmaxCodes: Parameter;
  readonly absmaxScale: Parameter;
  readonly absmaxOffset: Parameter;

  constructor({ codes, absmaxCodes, absmaxScale, absmaxOffset }: Nf4Values, [out, width]: Shape) {
    super();
    this.shape = [out, width];
    this.codes = frozen(codes, [codes.length], "uint8");
    this.absmaxCodes = frozen(absmaxCodes, [absmaxCodes.length], "uint8");
    this.absmaxScale = frozen(absmaxScale, [absmaxScale.length], "float32");
    this.absmaxOffset = frozen(absmaxOffset, [1], "float32");
  }

  get #weight(): QuantizedWeight {
    const { shape, codes, absmaxCodes, absmaxScale, absmaxOffset } = this;
    return { kind: "nf4", shape, codes, absmaxCodes, absmaxScale, absmaxOffset };
  }

  forward(x: Tensor): Tensor {
    return quantizedMatmul(x, this.#weight);
  }

  dequantize(): Tensor {
    return dequantize(this.#weight);
  }
}

/**
 * Compresses a matrix [out, in].
 * @param data float32, or the bits of bfloat16; its buffer is transferred
 * @throws ShapeError when the matrix cannot be stored that way
 */
export async function compress(
  kind: Quantization,
  shape: Shape,
  data: Float32Array | Uint16Array,
  quantizer: Quantizer,
): Promise<CompressedWeight> {
  if (kind === "int8") return new Int8LinearWeight(await quantizer.int8(data, shape), shape);
  if (kind === "nf4") return new Nf4LinearWeight(await quantizer.nf4(data, shape), shape);
  throw new ShapeError(`quantization must be "nf4" or "int8", not ${JSON.stringify(kind)}`);
}
