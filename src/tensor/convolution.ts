import { takeAlongAxis } from "./indexing.ts";
import { full } from "./leaf.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import type { Shape, Tensor } from "./tensor.ts";

/** How a window moves; each list has one number for each spatial axis. */
export interface Window {
  readonly stride: readonly number[];
  /** Zeros before and after each spatial axis. */
  readonly padding: readonly number[];
  readonly dilation: readonly number[];
}

interface Convolution extends Window {
  readonly groups: number;
}

/**
 * A convolution is linear in each operand, so it and its two gradients are each other's gradients, and those three
 * are all that is needed for gradients of any order.
 */
export interface ConvolutionAttributes {
  /** x [n, in, ...size], weight [out, in / groups, ...kernel] -> [n, out, ...] */
  conv: Convolution;
  /** g [n, out, ...], weight -> [n, in, ...size]: the transposed convolution. */
  convInputGradient: Convolution & { readonly size: Shape };
  /** x, g -> [out, in / groups, ...kernel] */
  convWeightGradient: Convolution & { readonly kernel: Shape };
  /** Flat positions (int32) within the spatial axes of each window's first largest element. */
  argMaxPool: { readonly kernel: Shape; readonly stride: readonly number[]; readonly padding: readonly number[] };
}

/** Positions that a window takes along each spatial axis. */
function outputSize(name: string, size: Shape, kernel: Shape, { stride, padding, dilation }: Window): Shape {
  return size.map((n, i) => {
    const out = Math.floor((n + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i]) + 1;
    if (out < 1) {
      throw new ShapeError(
        `${name}: a kernel of ${showShape(kernel)} with dilation ${showShape(dilation)} does not fit into ${showShape(size)} with padding ${showShape(padding)}`,
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
        `conv: x ${showShape(x.shape)} should be [n, in, ...size] and the weight ${showShape(weight.shape)} [out, in / groups, ...kernel] with groups ${groups}`,
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

/** A number for all spatial axes, or one for each. */
export type Spatial = number | readonly number[];

/** Options of {@link conv1d} and {@link conv2d}, by PyTorch's names. */
export interface ConvolutionOptions {
  /** Default 1. */
  stride?: Spatial;
  /** Zeros on either side; "same" keeps the size (stride 1, odd kernels), "valid" is 0. Default 0. */
  padding?: Spatial | "same" | "valid";
  /** Default 1. */
  dilation?: Spatial;
  /** Default 1; as many as there are channels for a depthwise convolution. */
  groups?: number;
}

/** Options of the pooling functions. */
export interface PoolOptions {
  /** The kernel's size when left out: windows side by side. */
  stride?: Spatial;
  /** Default 0. */
  padding?: Spatial;
}

const spread = (value: Spatial, rank: number): readonly number[] =>
  typeof value === "number" ? Array<number>(rank).fill(value) : value;

function checkRank(name: string, rank: number, ...tensors: readonly Tensor[]): void {
  for (const t of tensors) {
    if (t.shape.length !== rank + 2) {
      throw new ShapeError(`${name}: needs ${rank + 2} axes, got ${showShape(t.shape)}; use unsqueeze() to add one`);
    }
  }
}

function checkWhole(name: string, what: string, least: number, values: readonly number[], rank: number): void {
  if (values.length !== rank || !values.every((n) => Number.isInteger(n) && n >= least)) {
    throw new ShapeError(
      `${name}: ${what} must be ${rank} whole number(s) of ${least} or more, not ${showShape(values)}`,
    );
  }
}

function resolveConvolution(name: string, rank: number, kernel: Shape, options: ConvolutionOptions): Convolution {
  const { padding = 0, groups = 1 } = options;
  const dilation = spread(options.dilation ?? 1, rank);
  const stride = spread(options.stride ?? 1, rank);
  const reach = kernel.map((n, i) => dilation[i] * (n - 1));
  if (padding === "same" && (stride.some((n) => n !== 1) || reach.some((n) => n % 2 !== 0))) {
    throw new ShapeError(`${name}: padding "same" needs stride 1 and a kernel of odd size, not ${showShape(kernel)}`);
  }
  const zeros = padding === "same" ? reach.map((n) => n / 2) : spread(padding === "valid" ? 0 : padding, rank);
  checkWhole(name, "stride", 1, stride, rank);
  checkWhole(name, "dilation", 1, dilation, rank);
  checkWhole(name, "padding", 0, zeros, rank);
  checkWhole(name, "groups", 1, [groups], 1);
  return { stride, dilation, padding: zeros, groups };
}

function convolve(name: string, rank: number, x: Tensor, weight: Tensor, options: ConvolutionOptions): Tensor {
  checkRank(name, rank, x, weight);
  return convOperator([x, weight], resolveConvolution(name, rank, weight.shape.slice(2), options));
}

/**
 * Convolution (cross-correlation) over one axis.
 * @param x float [n, in, length]
 * @param weight float [out, in / groups, kernel]
 */
export function conv1d(x: Tensor, weight: Tensor, options: ConvolutionOptions = {}): Tensor {
  return convolve("conv1d", 1, x, weight, options);
}

/**
 * Convolution (cross-correlation) over two axes.
 * @param x float [n, in, height, width]
 * @param weight float [out, in / groups, kernel height, kernel width]
 */
export function conv2d(x: Tensor, weight: Tensor, options: ConvolutionOptions = {}): Tensor {
  return convolve("conv2d", 2, x, weight, options);
}

/**
 * Transposed convolution over two axes, the gradient of {@link conv2d}: it makes sizes larger where that makes them smaller.
 * @param x float [n, in, height, width]
 * @param weight float [in, out / groups, kernel height, kernel width]
 * @param options.outputPadding added to one side of the result's size, below the stride
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
  const extra = spread(options.outputPadding ?? 0, 2);
  const size = x.shape
    .slice(2)
    .map((n, i) => (n - 1) * stride[i] - 2 * padding[i] + dilation[i] * (kernel[i] - 1) + 1 + extra[i]);
  return convInputGradientOperator([x, weight], { ...convolution, size });
}

function maxPool(name: string, rank: number, x: Tensor, kernel: Spatial, options: PoolOptions): Tensor {
  checkRank(name, rank, x);
  const window = spread(kernel, rank);
  const stride = spread(options.stride ?? window, rank);
  const padding = spread(options.padding ?? 0, rank);
  checkWhole(name, "the kernel", 1, window, rank);
  checkWhole(name, "stride", 1, stride, rank);
  checkWhole(name, "padding", 0, padding, rank);
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
  const window = spread(kernel, rank);
  checkWhole(name, "the kernel", 1, window, rank);
  const [n, channels, ...size] = x.shape;
  const count = window.reduce((a, b) => a * b, 1);
  const { stride = window, padding = 0 } = options;
  // Each channel by itself under a kernel of equal weights.
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

/** Largest element of each window; x is [n, channels, length]. The gradient goes to the first of equal ones. */
export function maxPool1d(x: Tensor, kernel: Spatial, options: PoolOptions = {}): Tensor {
  return maxPool("maxPool1d", 1, x, kernel, options);
}

/** Largest element of each window; x is [n, channels, height, width]. The gradient goes to the first of equal ones. */
export function maxPool2d(x: Tensor, kernel: Spatial, options: PoolOptions = {}): Tensor {
  return maxPool("maxPool2d", 2, x, kernel, options);
}

/** Mean of each window, padding included; x is [n, channels, length]. */
export function avgPool1d(x: Tensor, kernel: Spatial, options: PoolOptions = {}): Tensor {
  return avgPool("avgPool1d", 1, x, kernel, options);
}

/** Mean of each window, padding included; x is [n, channels, height, width]. */
export function avgPool2d(x: Tensor, kernel: Spatial, options: PoolOptions = {}): Tensor {
  return avgPool("avgPool2d", 2, x, kernel, options);
}
