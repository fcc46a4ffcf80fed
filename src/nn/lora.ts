import { dequantize, type HostValue, type QuantizedWeight, Random, stopGradient, Tensor } from "../tensor/index.ts";
import { linear } from "./linear.ts";

/** A low-rank adapter's settings, by PEFT's names. */
export interface LoraConfig {
  /** Rank: 1 or more. */
  r: number;
  /** Numerator of the scaling: the update is weighted alpha / r (alpha / sqrt(r) with rsLoRA). */
  loraAlpha: number;
  /** Last parts of the names of the projections that get an adapter. */
  targetModules: readonly string[];
  /** Rank-stabilised scaling (Kalajdzievski 2023). */
  useRslora?: boolean;
  /** Weight-decomposed adaptation (Liu et al. 2024). */
  useDora?: boolean;
}

/** The factor on B A x. */
export function loraScaling({ r, loraAlpha, useRslora }: LoraConfig): number {
  return loraAlpha / (useRslora ? Math.sqrt(r) : r);
}

/** Names of an adapter's parameters for one projection, as PEFT stores them. */
export function loraNames(module: string) {
  const prefix = `base_model.model.${module}`;
  return {
    a: `${prefix}.lora_A.weight`,
    b: `${prefix}.lora_B.weight`,
    magnitude: `${prefix}.lora_magnitude_vector`,
  };
}

/** Whether a projection gets an adapter. */
export function isTarget(module: string, config: LoraConfig): boolean {
  return config.targetModules.includes(module.slice(module.lastIndexOf(".") + 1));
}

/**
 * A projection with its adapter: W x + s B A x (Hu et al. 2021), or DoRA's m * (W + s B A) x / ||W + s B A||, whose
 * norm counts as a constant for the gradient.
 * @param x float32 [n, in]
 * @param weight float32 [out, in] or its quantised form, frozen
 */
export function loraLinear(
  x: Tensor,
  weight: Tensor | QuantizedWeight,
  module: string,
  config: LoraConfig,
  parameter: (name: string) => Tensor,
): Tensor {
  const names = loraNames(module);
  const [a, b] = [parameter(names.a), parameter(names.b)];
  const scaling = loraScaling(config);
  const adapted = linear(x, weight).add(linear(linear(x, a), b).mul(scaling));
  if (!config.useDora) return adapted;
  const full = weight instanceof Tensor ? weight : dequantize(weight);
  const merged = full.add(b.matmul(a).mul(scaling));
  const norm = stopGradient(merged.mul(merged).sum([1]).sqrt());
  return adapted.mul(parameter(names.magnitude).div(norm));
}

/**
 * First values of an adapter: A uniform within 1 / sqrt(in) (PEFT's Kaiming initialisation), B zero, so that the
 * adapted model starts as the base model.
 * @param weight the projection's values, [out, in]
 */
export function initializeLora(
  module: string,
  weight: HostValue,
  config: LoraConfig,
  seed: number,
): Record<string, HostValue> {
  const [out, width] = weight.shape;
  const names = loraNames(module);
  const random = new Random(seed, `init/${names.a}`);
  const bound = 1 / Math.sqrt(width);
  const values: Record<string, HostValue> = {
    [names.a]: {
      dtype: "float32",
      shape: [config.r, width],
      data: Float32Array.from({ length: config.r * width }, () => (2 * random.uniform() - 1) * bound),
    },
    [names.b]: { dtype: "float32", shape: [out, config.r], data: new Float32Array(out * config.r) },
  };
  if (config.useDora) {
    values[names.magnitude] = { dtype: "float32", shape: [out], data: rowNorms(weight.data, out, width) };
  }
  return values;
}

/** W with its adapter folded in; the result needs no adapter any more. */
export function mergeLora(
  module: string,
  weight: HostValue,
  config: LoraConfig,
  values: Readonly<Record<string, HostValue>>,
): HostValue {
  const [out, width] = weight.shape;
  const names = loraNames(module);
  const [a, b] = [values[names.a].data, values[names.b].data];
  const scaling = loraScaling(config);
  const data = Float32Array.from(weight.data);
  for (let i = 0; i < out; i++) {
    for (let k = 0; k < config.r; k++) {
      const factor = scaling * b[i * config.r + k];
      for (let j = 0; j < width; j++) data[i * width + j] += factor * a[k * width + j];
    }
  }
  if (config.useDora) {
    const norms = rowNorms(data, out, width);
    for (let i = 0; i < out; i++) {
      const factor = values[names.magnitude].data[i] / norms[i];
      for (let j = 0; j < width; j++) data[i * width + j] *= factor;
    }
  }
  return { ...weight, data };
}

function rowNorms(data: ArrayLike<number>, rows: number, width: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: rows }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += data[i * width + j] ** 2;
    return Math.sqrt(sum);
  });
}
