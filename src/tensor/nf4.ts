/** Values per block, which share one absmax. */
export const nf4Block = 64;

/** Blocks whose absmax values share one scale. */
export const nf4Group = 256;

/** The 16 levels of NF4, quantiles of a normal distribution (Dettmers et al. 2023). */
export const nf4Levels = Float32Array.of(
  -1,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1,
);

/** The 256 signed levels of the dynamic 8-bit format (Dettmers et al. 2022), in ascending order. */
export const dynamicLevels = (() => {
  const levels = [0, 1];
  // Rounded to single precision at each step, to match other libraries' tables.
  const { fround } = Math;
  const first = fround(0.1);
  for (let i = 0; i < 7; i++) {
    const count = 2 ** i;
    const step = fround(fround(1 - first) / count);
    const boundary = (k: number) => fround(k < (count + 1) / 2 ? first + step * k : 1 - step * (count - k));
    for (let k = 0; k < count; k++) {
      const middle = fround(fround(boundary(k) + boundary(k + 1)) / 2);
      const level = fround(10 ** (i - 6)) * middle;
      levels.push(level, -level);
    }
  }
  return Float32Array.from(levels).sort();
})();
