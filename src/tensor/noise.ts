import { full } from "./leaf.ts";
import { operator, ShapeError } from "./operator.ts";
import { randomKey } from "./random.ts";
import type { DType, Shape, Tensor } from "./tensor.ts";
import { cos, log, sqrt } from "./unary.ts";

export interface RandomBitsAttributes {
  /** Element i holds the top 24 of the i-th `bits()` of {@link Random} under the same key: int32 in [0, 2^24). */
  randomBits: { readonly shape: Shape };
}

const randomBitsOperator = operator({
  name: "randomBits",
  infer: ([key], { shape }) => {
    if (key.dtype !== "int32" || key.size !== 1) throw new ShapeError("random: a key is one int32; see randomKey()");
    return { shape, dtype: "int32" };
  },
});

/** What a draw starts from: a seed, or a key (int32 scalar, see {@link randomKey}) that is handed in at each run. */
export type Seed = number | Tensor;

function keyOf(seed: Seed, stream: string): Tensor {
  if (typeof seed === "number") return full([], randomKey(seed, stream), "int32");
  // Another stream of the same key: the key drawn with the name's number as its place.
  if (stream === "") return seed;
  return randomBitsOperator([seed.add(full([], randomKey(0, stream), "int32"))], { shape: [] });
}

/**
 * Uniform values in [low, high), the same bits on every device (24 of them).
 * @param options.low default 0
 * @param options.high default 1
 * @param seed draws of one seed and stream are equal wherever and whenever they are made
 * @param options.stream what the values are for; streams are independent of each other
 */
export function randomUniform(
  shape: Shape,
  seed: Seed,
  { low = 0, high = 1, stream = "" }: { low?: number; high?: number; stream?: string } = {},
): Tensor {
  const unit = randomBitsOperator([keyOf(seed, stream)], { shape })
    .cast("float32")
    .mul(2 ** -24);
  return unit.mul(high - low).add(low);
}

/**
 * Normally distributed values (Box and Muller 1958). The uniform draws beneath are the same on every device; logarithm
 * and cosine are the device's, so values agree to rounding. Mean 0 and standard deviation 1 when left out.
 */
export function randomNormal(
  shape: Shape,
  seed: Seed,
  { mean = 0, deviation = 1, stream = "" }: { mean?: number; deviation?: number; stream?: string } = {},
): Tensor {
  // In (0, 1], so that its logarithm is finite.
  const radius = randomUniform(shape, seed, { stream: `${stream}/radius` })
    .neg()
    .add(1);
  const angle = randomUniform(shape, seed, { stream: `${stream}/angle` }).mul(2 * Math.PI);
  return sqrt(log(radius).mul(-2)).mul(cos(angle)).mul(deviation).add(mean);
}

/** True with the given probability, in [0, 1], at each place. `stream` names what the draws are for. */
export function randomBernoulli(shape: Shape, probability: number, seed: Seed, stream = ""): Tensor {
  return randomUniform(shape, seed, { stream }).less(probability);
}

/** Whole numbers (int32) in [0, n), for n up to 2^24. */
export function randomInteger(shape: Shape, n: number, seed: Seed, stream = ""): Tensor {
  return randomUniform(shape, seed, { stream }).mul(n).cast("int32");
}

/**
 * Zero with probability `rate`, the rest scaled up so that the mean stays (Srivastava et al. 2014).
 * @param rate in [0, 1); 0 gives x itself
 * @param key the step's key, handed in at each run: a constant would drop the same elements every time
 * @param stream the layer's name, so that layers drop different elements
 */
export function dropout(x: Tensor, rate: number, key: Seed, stream: string): Tensor {
  if (!(rate >= 0 && rate < 1)) throw new RangeError(`dropout: the rate must lie in [0, 1), not ${rate}`);
  if (rate === 0) return x;
  const kept = randomBernoulli(x.shape, 1 - rate, key, stream).cast(x.dtype as DType);
  return x.mul(kept.mul(1 / (1 - rate)));
}
