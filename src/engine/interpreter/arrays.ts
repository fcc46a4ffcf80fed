import type { Attributes, Shape } from "../../tensor/index.ts";

/** A tensor's values in double precision, also for integers and bools. */
export interface Value {
  readonly shape: Shape;
  readonly data: Float64Array;
}

export const sizeOf = (shape: Shape): number => shape.reduce((product, n) => product * n, 1);

/** Returns the strides of a row-major shape. */
export function stridesOf(shape: Shape): number[] {
  const strides = Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

/**
 * Returns the source index of each element of a result.
 * @param strides strides of the result's axes in the source
 * @param start source index of the first element
 */
export function offsets(shape: Shape, strides: readonly number[], start = 0): Int32Array {
  const result = new Int32Array(sizeOf(shape));
  const index = Array<number>(shape.length).fill(0);
  let at = start;
  for (let i = 0; i < result.length; i++) {
    result[i] = at;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return result;
}

/** Returns the source index of each element of a broadcast result. */
export function broadcastOffsets(shape: Shape, from: Shape): Int32Array {
  const strides = stridesOf(from);
  const lead = shape.length - from.length;
  return offsets(
    shape,
    shape.map((_, i) => (i < lead || from[i - lead] === 1 ? 0 : strides[i - lead])),
  );
}

export function pick(source: Float64Array, from: Int32Array): Float64Array {
  return Float64Array.from(from, (i) => source[i]);
}

/**
 * Visits all products of a convolution.
 * @param visit receives indices into x, the weight and the result
 */
export function forEachTap(
  { stride, padding, dilation, groups }: Attributes["conv"],
  x: Shape,
  weight: Shape,
  result: Shape,
  visit: (x: number, weight: number, result: number) => void,
): void {
  const [n, channels, ...size] = x;
  const [out, inner, ...kernel] = weight;
  const perGroup = out / groups;
  const places = sizeOf(result.slice(2));
  const taps = sizeOf(kernel);
  for (let place = 0; place < places; place++) {
    const at = indexOf(place, result.slice(2));
    for (let tap = 0; tap < taps; tap++) {
      const source = indexOf(tap, kernel).map((k, i) => at[i] * stride[i] - padding[i] + k * dilation[i]);
      if (source.some((p, i) => p < 0 || p >= size[i])) continue;
      const position = source.reduce((sum, p, i) => sum * size[i] + p, 0);
      for (let image = 0; image < n; image++) {
        for (let o = 0; o < out; o++) {
          for (let c = 0; c < inner; c++) {
            const channel = Math.floor(o / perGroup) * inner + c;
            visit(
              (image * channels + channel) * sizeOf(size) + position,
              (o * inner + c) * taps + tap,
              (image * out + o) * places + place,
            );
          }
        }
      }
    }
  }
}

/** Converts a flat index to one index per axis. */
export function indexOf(flat: number, shape: Shape): number[] {
  return stridesOf(shape).map((stride, i) => Math.floor(flat / stride) % shape[i]);
}
