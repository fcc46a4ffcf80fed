/**
 * Counter-based random number generator: each value depends only on the seed, the stream's name and the position, so any part
 * can be reproduced on any machine. The bits are a counter and a hash of the stream's name, passed twice through a 32-bit
 * finalizer.
 */
export class Random {
  readonly seed: number;
  readonly stream: string;
  #counter = 0;
  readonly #key: number;

  /**
   * @param seed any safe integer
   * @param stream purpose of the numbers ("init/model.norm.weight", "order/3"); streams are independent
   */
  constructor(seed: number, stream: string) {
    this.seed = seed;
    this.stream = stream;
    this.#key = randomKey(seed, stream) >>> 0;
  }

  /** Returns the next 32 random bits. */
  bits(): number {
    return randomBits(this.#key, this.#counter++);
  }

  /** Returns a number in [0, 1). */
  uniform(): number {
    return (this.bits() * 0x200000 + (this.bits() >>> 11)) / 2 ** 53;
  }

  /** Returns an integer in [0, n), with negligible bias. */
  integer(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** Returns normally distributed values (Box and Muller 1958). */
  normal(count: number, deviation = 1): Float32Array<ArrayBuffer> {
    const out = new Float32Array(count);
    for (let i = 0; i < count; i += 2) {
      const radius = Math.sqrt(-2 * Math.log(1 - this.uniform())) * deviation;
      const angle = 2 * Math.PI * this.uniform();
      out[i] = radius * Math.cos(angle);
      if (i + 1 < count) out[i + 1] = radius * Math.sin(angle);
    }
    return out;
  }

  /** Returns the numbers 0 to n - 1 in random order (Fisher and Yates). */
  permutation(n: number): Int32Array {
    const order = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}

/**
 * Returns the key of a stream: 32 bits (as an int32) hashed from the seed and the stream's name with FNV-1a.
 * @param seed any safe integer
 */
export function randomKey(seed: number, stream = ""): number {
  if (!Number.isSafeInteger(seed)) throw new RangeError(`seed must be an integer, not ${seed}`);
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(`${seed}/${stream}`)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash | 0;
}

/** Returns the 32 random bits at a position of a stream. */
export function randomBits(key: number, counter: number): number {
  const low = mix(counter ^ key);
  return mix((low + Math.imul(key, 0x9e3779b9)) >>> 0);
}

/** 32-bit finalizer with full avalanche (MurmurHash3's, Appleby 2011). */
function mix(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
