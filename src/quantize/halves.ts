/**
 * Lookup tables for the codes of bfloat16 values. A value's code depends only on the largest magnitude of its block, of which
 * a whole model has a few hundred. Each gets a table on first use, for values that are not so small that they round to zero.
 */
export class HalfTables {
  /** Number of magnitudes, as 15-bit patterns, in a table. */
  readonly span: number;
  readonly #fill: (numbers: Float32Array, largest: number, codes: Uint8Array) => void;
  readonly #tables: (Uint8Array | undefined)[] = [];

  /**
   * @param octaves factor of 2^-octaves of the largest magnitude below which all values have the code of zero
   * @param fill writes the code of each number, given the largest magnitude
   */
  constructor(octaves: number, fill: (numbers: Float32Array, largest: number, codes: Uint8Array) => void) {
    this.span = octaves << mantissaBits;
    this.#fill = fill;
  }

  /**
   * Returns the codes for a largest magnitude: index `i`, from 0 to `span`, is the code of the magnitude
   * `largest - span + i`, and index `i + span + 1` that of its negative. Index 0 also covers all smaller magnitudes.
   * @param largest 15 bits
   * @returns undefined when `largest` is too small or not finite
   */
  of(largest: number): Uint8Array | undefined {
    if (largest < this.span || largest >= infinity) return undefined;
    const existing = this.#tables[largest];
    if (existing) return existing;
    const count = this.span + 1;
    const bits = new Uint32Array(2 * count);
    for (let i = 0; i < count; i++) {
      bits[i] = (largest - this.span + i) << 16;
      bits[count + i] = bits[i] | 0x80000000;
    }
    const numbers = new Float32Array(bits.buffer);
    const codes = new Uint8Array(2 * count);
    this.#fill(numbers, numbers[this.span], codes);
    this.#tables[largest] = codes;
    return codes;
  }
}

/** Explicit mantissa bits of bfloat16. */
const mantissaBits = 7;

/** Bits of bfloat16's infinity; larger patterns are NaN. */
const infinity = 0x7f80;

/** Returns the largest magnitude of bfloat16 values as 15 bits, which are ordered like the values. */
export function largestBits(data: Uint16Array, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) {
    const magnitude = data[i] & 0x7fff;
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}
