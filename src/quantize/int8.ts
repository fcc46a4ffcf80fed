import { type Shape, ShapeError, showShape } from "../tensor/index.ts";
import { HalfTables, largestBits } from "./halves.ts";

/** A matrix in int8 on the host: row i is `scale[i] * values[i]`. */
export interface Int8Values {
  values: Int8Array<ArrayBuffer>;
  scale: Float32Array<ArrayBuffer>;
}

const unitOf = (largest: number): number => Math.fround(largest / 127) || 1;
const rounded = (value: number, unit: number): number => ((value / unit + 128.5) | 0) - 128;

/** Values below 1/256 of the largest are rounded to 0. */
const tables = new HalfTables(8, (numbers, largest, codes) => {
  const unit = unitOf(largest);
  for (let i = 0; i < numbers.length; i++) codes[i] = rounded(numbers[i], unit);
});

/**
 * Quantizes each row of a matrix to integers from -127 to 127, scaled by its largest magnitude. A row of zeros has scale 1.
 * @param data float32 values [out, in], or the bits of bfloat16 values
 * @throws ShapeError when the data does not fill the shape
 */
export function quantizeInt8(data: Float32Array | Uint16Array, shape: Shape): Int8Values {
  const [out, width] = checkMatrix("quantizeInt8", data.length, shape);
  const values = new Int8Array(out * width);
  const scale = new Float32Array(out);
  const scratch = new Float32Array(data instanceof Float32Array ? 0 : width);
  const bits = new Uint32Array(scratch.buffer);
  for (let row = 0; row < out; row++) {
    const start = row * width;
    const end = start + width;
    if (!(data instanceof Float32Array)) {
      const largest = largestBits(data, start, end);
      const table = tables.of(largest);
      if (table) {
        const lowest = largest - tables.span;
        const negative = tables.span + 1;
        for (let i = start; i < end; i++) {
          const half = data[i];
          values[i] = table[Math.max((half & 0x7fff) - lowest, 0) + (half >> 15) * negative];
        }
        bits[0] = largest << 16;
        scale[row] = unitOf(scratch[0]);
        continue;
      }
      for (let i = 0; i < width; i++) bits[i] = data[start + i] << 16;
    }
    const line = data instanceof Float32Array ? data.subarray(start, end) : scratch;
    let largest = 0;
    for (let i = 0; i < width; i++) {
      const magnitude = Math.abs(line[i]);
      if (magnitude > largest) largest = magnitude;
    }
    const unit = unitOf(largest);
    scale[row] = unit;
    for (let i = 0; i < width; i++) values[start + i] = rounded(line[i], unit);
  }
  return { values, scale };
}

/**
 * Returns the values of an int8 matrix, row by row.
 * @throws ShapeError when the values do not fill the shape
 */
export function dequantizeInt8({ values, scale }: Int8Values, shape: Shape): Float32Array<ArrayBuffer> {
  const [out, width] = checkMatrix("dequantizeInt8", values.length, shape);
  const result = new Float32Array(values.length);
  for (let row = 0; row < out; row++) {
    const unit = scale[row];
    for (let i = row * width; i < (row + 1) * width; i++) result[i] = values[i] * unit;
  }
  return result;
}

function checkMatrix(name: string, length: number, shape: Shape): Shape {
  if (shape.length === 2 && shape[0] * shape[1] === length) return shape;
  throw new ShapeError(
    `${name}: expected a matrix [out, in] with matching data; got shape ${showShape(shape)} and ${length} values`,
  );
}
