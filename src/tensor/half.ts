const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** The float that 16 bits of IEEE 754 binary16 stand for. */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * 2 ** -14 * (fraction / 1024);
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

/** The nearest binary16 to a float, as 16 bits; halves go to the even one, what is too large to infinity. */
export function toFloat16(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  // Below the smallest normal number, 2^-14, the step is 2^-24.
  if (magnitude < 0x38800000) return sign | roundHalfEven(Math.abs(scratch[0]) * 2 ** 24);
  // Drop 13 bits of the fraction; a carry out of it raises the exponent, as it should.
  const rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1);
  return sign | (rounded >>> 13);
}

/** The nearest bfloat16 to a float, as 16 bits; halves go to the even one. */
export function toBfloat16(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0];
  if (Number.isNaN(value)) return 0x7fc0;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}
