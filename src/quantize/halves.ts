/**
 * Codes of bfloat16 numbers by table. All that a number's code depends on is the largest magnitude beside it, and of that
 * there are few hundred in a whole model: each gets a table, at its first use, of the numbers that are not too small to
 * matter.
 */
export class HalfTables {
  /** Magnitudes, as their 15 bits, for which a table holds codes. */
  readonly span: number;
  readonly #fill: (numbers: Float32Array, largest: number, codes: Uint8Array) => void;
  readonly #tables: (Uint8Array | undefined)[] = [];

  /**
   * @param octaves how far below the largest magnitude all numbers have the code of zero
   * @param fill writes the code of each number beside that largest one
   */
  constructor(octaves: number, fill: (numbers: Float32Array, largest: number, codes: Uint8Array) => void) {
    this.span = octaves << mantissaBits;
    this.#fill = fill;
  }

  /**
   * The codes beside a largest magnitude: at `i`, from 0 to `span`, of the magnitude `largest - span + i`, and
   * `span + 1` further of its negative. At 0 is the code of all that is smaller as well.
   * @param largest 15 bits
   * @returns undefined where numbers so small, or without end, have no table
   */
  of(largest: number): Uint8Array | undefined {
    if (largest < this.span || largest >= infinity) return undefined;
    const known = this.#tables[largest];
    if (known) return known;
    const count = this.span + 1;
    const bits = new Uint32Array(2 * count);
    for (let i = 0; i < count; i++) {
      bits[i] = (largest - this.span + i) << 16;
      bits[count + i] = bits[i] | 0x80000000;
    }
    const numbers = new Float32Array(bits.buffer);
    const made = new Uint8Array(2 * count);
    this.#fill(numbers, numbers[this.span], made);
    this.#tables[largest] = made;
    return made;
  }
}

/** Explicit bits of a bfloat16's fraction. */
const mantissaBits = 7;

/** The bits of bfloat16's infinity: what is above is no number. */
const infinity = 0x7f80;

/** The largest magnitude of some bfloat16 numbers, as its 15 bits: they have the order of the numbers. */
export function largestBits(data: Uint16Array, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) {
    const magnitude = data[i] & 0x7fff;
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}
