const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** Converts 16 bits of IEEE 754 binary16 to a number. */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * 2 ** -14 * (fraction / 1024);
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

/** Converts a number to the bits of the nearest binary16; ties round to even, overflow gives infinity. */
export function toFloat16(value: number): number {
  scratch[0] = value;
  return float16Bits(scratchBits[0]);
}

/** Converts a number to the bits of the nearest bfloat16; ties round to even. */
export function toBfloat16(value: number): number {
  scratch[0] = value;
  return bfloat16Bits(scratchBits[0]);
}

/** Converts bits of bfloat16 to float32. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const result = new Float32Array(bits.length);
  const words = new Uint32Array(result.buffer);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i] << 16;
  return result;
}

/** Converts float32 to the bits of the nearest bfloat16; ties round to even, NaN stays NaN. */
export function float32ToBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const result = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) result[i] = bfloat16Bits(words[i]);
  return result;
}

/** Bits of float32 for all bits of binary16; created on first use. */
let float16Table: Uint32Array | undefined;

/** Converts bits of IEEE 754 binary16 to float32. */
export function float16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  float16Table ??= new Uint32Array(Float32Array.from({ length: 65_536 }, (_, i) => fromFloat16(i)).buffer);
  const table = float16Table;
  const result = new Float32Array(bits.length);
  const words = new Uint32Array(result.buffer);
  for (let i = 0; i < bits.length; i++) words[i] = table[bits[i]];
  return result;
}

/** Converts float32 to the bits of the nearest binary16; ties round to even, NaN stays NaN. */
export function float32ToFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const result = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) result[i] = float16Bits(words[i]);
  return result;
}

/** Converts the bits of a float32. */
function bfloat16Bits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Converts the bits of a float32. */
function float16Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  // Rounds off 13 bits of the fraction; a carry correctly increments the exponent.
  if (magnitude >= 0x38800000 && magnitude < 0x47800000) {
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  // Below the smallest normal number, 2^-14, the spacing is 2^-24; values of at most half of it round to zero.
  const exponent = magnitude >>> 23;
  if (exponent < 102) return sign;
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent;
  const rest = fraction & ((1 << shift) - 1);
  const whole = fraction >>> shift;
  const half = 1 << (shift - 1);
  return sign | (rest > half || (rest === half && whole % 2 === 1) ? whole + 1 : whole);
}
