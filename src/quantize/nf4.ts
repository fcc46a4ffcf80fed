import { dynamicLevels, nf4Block, nf4Group, nf4Levels, type Shape, ShapeError, showShape } from "../tensor/index.ts";
import { HalfTables, largestBits } from "./halves.ts";

/** A matrix in NF4 with double quantization, on the host; Nf4Weight describes the parts. */
export interface Nf4Values {
  /** Two codes per byte, the first in the high half. */
  codes: Uint8Array<ArrayBuffer>;
  /** One per block of 64 values. */
  absmaxCodes: Uint8Array<ArrayBuffer>;
  /** One per 256 blocks. */
  absmaxScale: Float32Array<ArrayBuffer>;
  /** One number: the mean of the blocks' absolute maxima. */
  absmaxOffset: Float32Array<ArrayBuffer>;
}

/** Bins per unit of normalized values: enough that hardly any contains a midpoint between two levels. */
const perUnit = 1024;

/** Marks a bin that contains a midpoint. */
const mixed = 16;

const midpoints = Float32Array.from(nf4Levels.subarray(1), (level, i) => (level + nf4Levels[i]) / 2);

/** The code at the start of each bin from -1 to 1. */
const bins = (() => {
  const codes = new Uint8Array(2 * perUnit + 1);
  let code = 0;
  for (let bin = 0; bin <= 2 * perUnit; bin++) {
    codes[bin] = code;
    // A midpoint at the end of a bin belongs to the next bin.
    if (midpoints[code] < (bin + 1) / perUnit - 1) codes[bin] = mixed | code++;
  }
  return codes;
})();

/** Returns the code of a value whose bin contains a midpoint. */
const resolveCode = (bin: number, value: number): number => {
  const code = bin & 15;
  return value > midpoints[code] ? code + 1 : code;
};

const scratch = new Float32Array(nf4Block);
const scratchBits = new Uint32Array(scratch.buffer);

/**
 * Quantizes a matrix to NF4 in blocks of 64 values, row by row; ties between two levels round to the lower one.
 * @param data float32 values, or the bits of bfloat16 values
 * @throws ShapeError when the data does not fill the shape
 */
export function quantizeNf4(data: Float32Array | Uint16Array, shape: Shape): Nf4Values {
  const size = data.length;
  checkSize("quantizeNf4", size, shape);
  const codes = new Uint8Array(Math.ceil(size / 2));
  const absmax = new Float32Array(Math.ceil(size / nf4Block));
  if (data instanceof Float32Array) {
    for (let block = 0; block < absmax.length; block++) {
      const start = block * nf4Block;
      const count = Math.min(nf4Block, size - start);
      for (let i = 0; i < count; i++) scratch[i] = data[start + i];
      absmax[block] = quantizeBlock(count, codes, start >> 1);
    }
  } else {
    for (let block = 0; block < absmax.length; block++) {
      const start = block * nf4Block;
      const count = Math.min(nf4Block, size - start);
      absmax[block] = quantizeHalves(data, start, count, codes);
    }
  }
  return { codes, ...quantizeAbsmax(absmax) };
}

/** Values below 1/32 of the largest have the code of zero. */
const tables = new HalfTables(5, (numbers, largest, codes) => {
  for (let i = 0; i < numbers.length; i++) codes[i] = codeOf(numbers[i], perUnit / largest, largest);
});

/** Writes the codes of a block of bfloat16 values, and returns the largest magnitude. */
function quantizeHalves(data: Uint16Array, start: number, count: number, codes: Uint8Array): number {
  const end = start + count;
  const largest = largestBits(data, start, end);
  const table = count % 2 === 0 ? tables.of(largest) : undefined;
  if (!table) {
    for (let i = 0; i < count; i++) scratchBits[i] = data[start + i] << 16;
    return quantizeBlock(count, codes, start >> 1);
  }
  const lowest = largest - tables.span;
  const negative = tables.span + 1;
  for (let i = start; i < end; i += 2) {
    const first = data[i];
    const second = data[i + 1];
    const high = table[Math.max((first & 0x7fff) - lowest, 0) + (first >> 15) * negative];
    const low = table[Math.max((second & 0x7fff) - lowest, 0) + (second >> 15) * negative];
    codes[i >> 1] = (high << 4) | low;
  }
  scratchBits[0] = largest << 16;
  return scratch[0];
}

/** Returns the code of one value in a block with largest magnitude `divisor`. */
function codeOf(value: number, factor: number, divisor: number): number {
  const code = bins[(value * factor + perUnit) | 0];
  // The exact quotient is needed only near a midpoint: codes do not change at bin boundaries.
  return code >= mixed ? resolveCode(code, Math.fround(value / divisor)) : code;
}

/** Writes the codes of the first values in `scratch`, starting at `at`, and returns the largest magnitude. */
function quantizeBlock(count: number, codes: Uint8Array, at: number): number {
  let largest = 0;
  for (let i = 0; i < count; i++) {
    const magnitude = Math.abs(scratch[i]);
    if (magnitude > largest) largest = magnitude;
  }
  // Pads an odd number of values with zero.
  if (count % 2 === 1) scratch[count] = 0;
  const divisor = largest === 0 ? 1 : largest;
  const factor = perUnit / divisor;
  for (let i = 0; i < count; i += 2) {
    codes[at + (i >> 1)] = (codeOf(scratch[i], factor, divisor) << 4) | codeOf(scratch[i + 1], factor, divisor);
  }
  return largest;
}

/** Quantizes the blocks' absolute maxima, minus their mean, to 8 bits in groups of 256. */
function quantizeAbsmax(absmax: Float32Array): Omit<Nf4Values, "codes"> {
  let sum = 0;
  for (let i = 0; i < absmax.length; i++) sum += absmax[i];
  const absmaxOffset = Float32Array.of(absmax.length === 0 ? 0 : sum / absmax.length);
  const offset = absmaxOffset[0];
  const absmaxCodes = new Uint8Array(absmax.length);
  const absmaxScale = new Float32Array(Math.ceil(absmax.length / nf4Group));
  for (let group = 0; group < absmaxScale.length; group++) {
    const start = group * nf4Group;
    const end = Math.min(absmax.length, start + nf4Group);
    let largest = 0;
    for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(Math.fround(absmax[i] - offset)));
    absmaxScale[group] = largest;
    const divisor = largest === 0 ? 1 : largest;
    for (let i = start; i < end; i++) {
      absmaxCodes[i] = nearestDynamic(Math.fround(Math.fround(absmax[i] - offset) / divisor));
    }
  }
  return { absmaxCodes, absmaxScale, absmaxOffset };
}

const dynamicMidpoints = Float32Array.from(dynamicLevels.subarray(1), (level, i) => (level + dynamicLevels[i]) / 2);

/** Returns the number of midpoints below the value. */
function nearestDynamic(value: number): number {
  let [low, high] = [0, dynamicMidpoints.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value > dynamicMidpoints[middle]) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Returns the values of an NF4 matrix, row by row.
 * @throws ShapeError when the number of codes does not match the shape
 */
export function dequantizeNf4(
  { codes, absmaxCodes, absmaxScale, absmaxOffset }: Nf4Values,
  shape: Shape,
): Float32Array<ArrayBuffer> {
  const size = shape.reduce((product, n) => product * n, 1);
  if (codes.length !== Math.ceil(size / 2)) {
    throw new ShapeError(`dequantizeNf4: ${codes.length} bytes of codes do not match the shape ${showShape(shape)}`);
  }
  const values = new Float32Array(size);
  const scaled = new Float32Array(16);
  for (let block = 0; block * nf4Block < size; block++) {
    const rest = Math.fround(dynamicLevels[absmaxCodes[block]] * absmaxScale[Math.floor(block / nf4Group)]);
    const absmax = Math.fround(rest + absmaxOffset[0]);
    for (let code = 0; code < 16; code++) scaled[code] = nf4Levels[code] * absmax;
    const end = Math.min(size, (block + 1) * nf4Block);
    for (let i = block * nf4Block; i < end; i += 2) {
      const byte = codes[i >> 1];
      values[i] = scaled[byte >> 4];
      if (i + 1 < end) values[i + 1] = scaled[byte & 15];
    }
  }
  return values;
}

function checkSize(name: string, length: number, shape: Shape): void {
  const size = shape.reduce((product, n) => product * n, 1);
  if (size !== length) {
    throw new ShapeError(`${name}: shape ${showShape(shape)} has ${size} values, but the data has ${length}`);
  }
}
