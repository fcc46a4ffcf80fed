import { takeAlongAxis } from "./indexing.ts";
import { full } from "./leaf.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import type { Shape, Tensor } from "./tensor.ts";

/** Window of a convolution or pooling; each list has one number per spatial axis. */
export interface Window {
  readonly stride: readonly number[];
  /** Zero padding before and after each spatial axis. */
  readonly padding: readonly number[];
  readonly dilation: readonly number[];
}

interface Convolution extends Window {
  readonly groups: number;
}

/**
 * A convolution is linear in each operand, so the convolution and its two gradients are each other's gradients. These
 * three operators suffice for gradients of any order.
 */
export interface ConvolutionAttributes {
  /** x [n, in, ...size], weight [out, in / groups, ...kernel] -> [n, out, ...] */
  conv: Convolution;
  /** g [n, out, ...], weight -> [n, in, ...size]: transposed convolution. */
  convInputGradient: Convolution & { readonly size: Shape };
  /** x, g -> [out, in / groups, ...kernel] */
  convWeightGradient: Convolution & { readonly kernel: Shape };
  /** Flat indices (int32) in the spatial axes of the first maximum of each window. */
  argMaxPool: { readonly kernel: Shape; readonly stride: readonly number[]; readonly padding: readonly number[] };
}

/** Returns the number of window positions along each spatial axis. */
function outputSize(name: string, size: Shape, kernel: Shape, { stride, padding, dilation }: Window): Shape {
  return size.map((n, i) => {
    const out = Math.floor((n + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i]) + 1;
    if (out < 1) {
      throw new ShapeError(
        `${name}: a kernel of ${showShape(kernel)} with dilation ${showShape(dilation)} is larger than ${showShape(size)} with padding ${showShape(padding)}`,
      );
    }
    return out;
  });
}

const convOperator = operator({
  name: "conv",
  infer: ([x, weight], attributes) => {
    const { groups } = attributes;
    const [n, channels, ...size] = x.shape;
    const [out, inner, ...kernel] = weight.shape;
    if (x.shape.length !== weight.shape.length || channels !== inner * groups || out % groups !== 0) {
      throw new ShapeError(
        `conv: expected x [n, in, ...size] and weight [out, in / groups, ...kernel] with groups ${groups}; got x ${showShape(x.shape)} and weight ${showShape(weight.shape)}`,
      );
    }
    return { shape: [n, out, ...outputSize("conv", size, kernel, attributes)], dtype: x.dtype };
  },
  gradient: (g, node) => {
    const [x, weight] = node.inputs;
    return [
      convInputGradientOperator([g, weight], { ...node.attributes, size: x.shape.slice(2) }),
      convWeightGradientOperator([x, g], { ...node.attributes, kernel: weight.shape.slice(2) }),
    ];
  },
});

const convInputGradientOperator: Apply<"convInputGradient"> = operator({
  name: "convInputGradient",
  infer: ([g, weight], attributes) => {
    const [n, channels, ...positions] = g.shape;
    const [out, inner, ...kernel] = weight.shape;
    const fits = showShape(outputSize("convTranspose", attributes.size, kernel, attributes)) === showShape(positions);
    if (!fits || channels !== out) {
      throw new ShapeError(
        `convTranspose: x ${showShape(g.shape)} and weight ${showShape(weight.shape)} do not give size ${showShape(attributes.size)}`,
      );
    }
    return { shape: [n, inner * attributes.groups, ...attributes.size], dtype: g.dtype };
  },
  gradient: (h, node) => {
    const [g, weight] = node.inputs;
    const { size: _, ...convolution } = node.attributes;
    return [
      convOperator([h, weight], convolution),
      convWeightGradientOperator([h, g], { ...convolution, kernel: weight.shape.slice(2) }),
    ];
  },
});

const convWeightGradientOperator: Apply<"convWeightGradient"> = operator({
  name: "convWeightGradient",
  infer: ([x, g], { groups, kernel }) => ({ shape: [g.shape[1], x.shape[1] / groups, ...kernel], dtype: x.dtype }),
  gradient: (h, node) => {
    const [x, g] = node.inputs;
    const { kernel: _, ...convolution } = node.attributes;
    return [
      convInputGradientOperator([g, h], { ...convolution, size: x.shape.slice(2) }),
      convOperator([x, h], convolution),
    ];
  },
});

type Apply<K extends keyof ConvolutionAttributes> = (
  inputs: readonly Tensor[],
  attributes: ConvolutionAttributes[K],
) => Tensor;

const argMaxPoolOperator = operator({
  name: "argMaxPool",
  infer: ([x], { kernel, stride, padding }) => {
    const [n, channels, ...size] = x.shape;
    const window = { stride, padding, dilation: kernel.map(() => 1) };
    return { shape: [n, channels, ...outputSize("maxPool", size, kernel, window)], dtype: "int32" };
  },
});

/** One number for all spatial axes, or one per axis. */
export type Spatial = number | readonly number[];

/** Options of {@link conv1d} and {@link conv2d}, named as in PyTorch. */
export interface ConvolutionOptions {
  /** Default 1. */
  stride?: Spatial;
  /** Zero padding on both sides; "same" keeps the size (stride 1, odd kernels), "valid" is 0. Default 0. */
  padding?: Spatial | "same" | "valid";
  /** Default 1. */
  dilation?: Spatial;
  /** Default 1; the number of channels for a depthwise convolution. */
  groups?: number;
}

/** Options of the pooling functions. */
export interface PoolOptions {
  /** Default: the kernel size. */
  stride?: Spatial;
  /** Default 0. */
  padding?: Spatial;
}

const perAxis = (value: Spatial, rank: number): readonly number[] =>
  typeof value === "number" ? Array<number>(rank).fill(value) : value;

function checkRank(name: string, rank: number, ...tensors: readonly Tensor[]): void {
  for (const t of tensors) {
    if (t.shape.length !== rank + 2) {
      throw new ShapeError(`${name}: expected ${rank + 2} axes, got ${showShape(t.shape)}; use unsqueeze() to add one`);
    }
  }
}

function checkIntegers(name: string, what: string, minimum: number, values: readonly number[], rank: number): void {
  if (values.length !== rank || !values.every((n) => Number.isInteger(n) && n >= minimum)) {
    throw new ShapeError(
      `${name}: ${what} must be ${rank} integer(s) of at least ${minimum}, not ${showShape(values)}`,
    );
  }
}

function resolveConvolution(name: string, rank: number, kernel: Shape, options: ConvolutionOptions): Convolution {
  const { padding = 0, groups = 1 } = options;
  const dilation = perAxis(options.dilation ?? 1, rank);
  const stride = perAxis(options.stride ?? 1, rank);
  const reach = kernel.map((n, i) => dilation[i] * (n - 1));
  if (padding === "same" && (stride.some((n) => n !== 1) || reach.some((n) => n % 2 !== 0))) {
    throw new ShapeError(`${name}: padding "same" needs stride 1 and a kernel of odd size, not ${showShape(kernel)}`);
  }
  const zeros = padding === "same" ? reach.map((n) => n / 2) : perAxis(padding === "valid" ? 0 : padding, rank);
  checkIntegers(name, "stride", 1, stride, rank);
  checkIntegers(name, "dilation", 1, dilation, rank);
  checkIntegers(name, "padding", 0, zeros, rank);
  checkIntegers(name, "groups", 1, [groups], 1);
  return { stride, dilation, padding: zeros, groups };
}

function convolve(name: string, rank: number, x: Tensor, weight: Tensor, options: ConvolutionOptions): Tensor {
  checkRank(name, rank, x, weight);
  return convOperator([x, weight], resolveConvolution(name, rank, weight.shape.slice(2), options));
}

/**
 * 1D convolution (cross-correlation).
 * @param x float [n, in, length]
 * @param weight float [out, in / groups, kernel]
 */
export function conv1d(x: Tensor, weight: Tensor, options: ConvolutionOptions = {}): Tensor {
  return convolve("conv1d", 1, x, weight, options);
}

/**
 * 2D convolution (cross-correlation).
 * @param x float [n, in, height, width]
 * @param weight float [out, in / groups, kernel height, kernel width]
 */
export function conv2d(x: Tensor, weight: Tensor, options: ConvolutionOptions = {}): Tensor {
  return convolve("conv2d", 2, x, weight, options);
}

/**
 * 2D transposed convolution, the gradient of {@link conv2d}: upsamples where conv2d downsamples.
 * @param x float [n, in, height, width]
 * @param weight float [in, out / groups, kernel height, kernel width]
 * @param options.outputPadding added to one side of the output size; less than the stride
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  options: ConvolutionOptions & { outputPadding?: Spatial } = {},
): Tensor {
  checkRank("convTranspose2d", 2, x, weight);
  const kernel = weight.shape.slice(2);
  const convolution = resolveConvolution("convTranspose2d", 2, kernel, options);
  const { stride, padding, dilation } = convolution;
  const extra = perAxis(options.outputPadding ?? 0, 2);
  const size = x.shape
    .slice(2)
    .map((n, i) => (n - 1) * stride[i] - 2 * padding[i] + dilation[i] * (kernel[i] - 1) + 1 + extra[i]);
  return convInputGradientOperator([x, weight], { ...convolution, size });
}

function maxPool(name: string, rank: number, x: Tensor, kernel: Spatial, options: PoolOptions): Tensor {
  checkRank(name, rank, x);
  const window = perAxis(kernel, rank);
  const stride = perAxis(options.stride ?? window, rank);
  const padding = perAxis(options.padding ?? 0, rank);
  checkIntegers(name, "the kernel", 1, window, rank);
  checkIntegers(name, "stride", 1, stride, rank);
  checkIntegers(name, "padding", 0, padding, rank);
  if (padding.some((n, i) => 2 * n > window[i])) {
    throw new ShapeError(`${name}: padding ${showShape(padding)} is more than half of the kernel ${showShape(window)}`);
  }
  const positions = argMaxPoolOperator([x], { kernel: window, stride, padding });
  const [n, channels, ...out] = positions.shape;
  const flat = takeAlongAxis(x.reshape([n, channels, -1]), positions.reshape([n, channels, -1]), 2);
  return flat.reshape([n, channels, ...out]);
}

function avgPool(name: string, rank: number, x: Tensor, kernel: Spatial, options: PoolOptions): Tensor {
  checkRank(name, rank, x);
  const window = perAxis(kernel, rank);
  checkIntegers(name, "the kernel", 1, window, rank);
  const [n, channels, ...size] = x.shape;
  const count = window.reduce((a, b) => a * b, 1);
  const { stride = window, padding = 0 } = options;
  // Each channel separately, with a kernel of equal weights.
  const mean = convolve(
    name,
    rank,
    x.reshape([n * channels, 1, ...size]),
    full([1, 1, ...window], 1 / count, x.dtype),
    {
      stride,
      padding,
    },
  );
  return mean.reshape([n, channels, ...mean.shape.slice(2)]);
}

/** 1D max pooling; x is [n, channels, length]. Among equal maxima, the gradient goes to the first. */
export function maxPool1d(x: Tensor, kernel: Spatial, options: PoolOptions = {}): Tensor {
  return maxPool("maxPool1d", 1, x, kernel, options);
}

/** 2D max pooling; x is [n, channels, height, width]. Among equal maxima, the gradient goes to the first. */
export function maxPool2d(x: Tensor, kernel: Spatial, options: PoolOptions = {}): Tensor {
  return maxPool("maxPool2d", 2, x, kernel, options);
}

/** 1D average pooling, including padding; x is [n, channels, length]. */
export function avgPool1d(x: Tensor, kernel: Spatial, options: PoolOptions = {}): Tensor {
  return avgPool("avgPool1d", 1, x, kernel, options);
}

/** 2D average pooling, including padding; x is [n, channels, height, width]. */
export function avgPool2d(x: Tensor, kernel: Spatial, options: PoolOptions = {}): Tensor {
  return avgPool("avgPool2d", 2, x, kernel, options);
}
