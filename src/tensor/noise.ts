import { full } from "./leaf.ts";
import { operator, ShapeError } from "./operator.ts";
import { randomKey } from "./random.ts";
import type { DType, Shape, Tensor } from "./tensor.ts";
import { cos, log, sqrt } from "./unary.ts";

export interface RandomBitsAttributes {
  /** Element i is the upper 24 bits of the i-th `bits()` of {@link Random} with the same key: int32 in [0, 2^24). */
  randomBits: { readonly shape: Shape };
}

const randomBitsOperator = operator({
  name: "randomBits",
  infer: ([key], { shape }) => {
    if (key.dtype !== "int32" || key.size !== 1)
      throw new ShapeError("random: a key must be one int32; see randomKey()");
    return { shape, dtype: "int32" };
  },
});

/** A seed, or a key (int32 scalar, see {@link randomKey}) that is passed at each run. */
export type Seed = number | Tensor;

function keyOf(seed: Seed, stream: string): Tensor {
  if (typeof seed === "number") return full([], randomKey(seed, stream), "int32");
  // Derives a key for the stream from the given key.
  if (stream === "") return seed;
  return randomBitsOperator([seed.add(full([], randomKey(0, stream), "int32"))], { shape: [] });
}

/**
 * Uniform random values in [low, high), with the same 24 bits on every device.
 * @param options.low default 0
 * @param options.high default 1
 * @param seed the same seed and stream always give the same values
 * @param options.stream purpose of the values; streams are independent of each other
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
 * Normally distributed random values (Box and Muller 1958), with mean 0 and standard deviation 1 by default. The underlying
 * uniform values are the same on every device, but logarithm and cosine may round differently.
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

/** Random bools that are true with a probability in [0, 1]. `stream` names their purpose. */
export function randomBernoulli(shape: Shape, probability: number, seed: Seed, stream = ""): Tensor {
  return randomUniform(shape, seed, { stream }).less(probability);
}

/** Random integers (int32) in [0, n), for n up to 2^24. */
export function randomInteger(shape: Shape, n: number, seed: Seed, stream = ""): Tensor {
  return randomUniform(shape, seed, { stream }).mul(n).cast("int32");
}

/**
 * Zeroes elements with probability `rate` and scales the others so that the mean is unchanged (Srivastava et al. 2014).
 * @param rate in [0, 1); 0 returns x
 * @param key key of the run; a constant would drop the same elements each time
 * @param stream name of the layer, so that each layer drops different elements
 */
export function dropout(x: Tensor, rate: number, key: Seed, stream: string): Tensor {
  if (!(rate >= 0 && rate < 1)) throw new RangeError(`dropout: rate must be in [0, 1), not ${rate}`);
  if (rate === 0) return x;
  const mask = randomBernoulli(x.shape, 1 - rate, key, stream).cast(x.dtype as DType);
  return x.mul(mask.mul(1 / (1 - rate)));
}
