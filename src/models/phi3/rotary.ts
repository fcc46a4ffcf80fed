import { concat, less, rotary, type Tensor, tensor, where } from "../../tensor/index.ts";
import type { Phi3Config } from "./config.ts";

/** Returns the rotary embedding of positions below `reach`, a function of a tensor [batch, heads, length, width]. */
export function rotation(config: Phi3Config, positions: Tensor, reach: number): (x: Tensor) => Tensor {
  const width = config.hiddenSize / config.numAttentionHeads;
  const rotated = rotatedWidth(config);
  const { cos, sin } = rotaryTables(config, rotated, positions, reach);
  return (x) => {
    const part = rotary(x.slice(3, 0, rotated), positions, cos, sin);
    return rotated === width ? part : concat([part, x.slice(3, rotated, width)], 3);
  };
}

/** Returns how many elements of each head are rotated. */
export const rotatedWidth = (config: Pick<Phi3Config, "hiddenSize" | "numAttentionHeads" | "partialRotaryFactor">) =>
  Math.trunc((config.hiddenSize / config.numAttentionHeads) * config.partialRotaryFactor);

function rotaryTables(config: Phi3Config, rotated: number, positions: Tensor, reach: number) {
  const { longRope, maxPositionEmbeddings: max, originalMaxPositionEmbeddings: original } = config;
  if (!longRope) return tables(config, rotated, reach, []);
  // Both tables are scaled, even for short sequences: sqrt(1 + ln(max / original) / ln(original)).
  const defaultScale = max > original ? Math.sqrt(1 + Math.log(max / original) / Math.log(original)) : 1;
  const scale = longRope.attentionFactor ?? defaultScale;
  const short = tables(config, rotated, reach, longRope.shortFactor, scale);
  const long = tables(config, rotated, reach, longRope.longFactor, scale);
  const isLong = less(original, positions.max().add(1));
  return { cos: where(isLong, long.cos, short.cos), sin: where(isLong, long.sin, short.sin) };
}

function tables(config: Phi3Config, rotated: number, rows: number, stretch: readonly number[], scale = 1) {
  const half = rotated / 2;
  const [cos, sin] = [new Float32Array(rows * half), new Float32Array(rows * half)];
  for (let j = 0; j < half; j++) {
    const frequency = Math.fround(1 / (config.ropeTheta ** ((2 * j) / rotated) * (stretch[j] ?? 1)));
    for (let position = 0; position < rows; position++) {
      const angle = Math.fround(position * frequency);
      cos[position * half + j] = Math.cos(angle) * scale;
      sin[position * half + j] = Math.sin(angle) * scale;
    }
  }
  return { cos: tensor(cos, [rows, half]), sin: tensor(sin, [rows, half]) };
}
