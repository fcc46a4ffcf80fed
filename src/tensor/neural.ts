import type { None } from "./attributes.ts";
import { isFloating } from "./broadcast.ts";
import { div, sub } from "./elementwise.ts";
import { arange } from "./leaf.ts";
import { equal, where } from "./logic.ts";
import { operator, ShapeError, showShape } from "./operator.ts";
import { logSumExp, normalizeAxis, sumTo } from "./reduce.ts";
import type { Tensor } from "./tensor.ts";
import { swapAxes } from "./views.ts";

/** Operators that could be composed of others, but have fast kernels in every runtime. */
export interface NeuralAttributes {
  softmax: None;
  crossEntropy: None;
  crossEntropyGradient: None;
  rmsNorm: { readonly epsilon: number };
  layerNorm: { readonly epsilon: number };
  rotary: { readonly inverse: boolean };
}

const softmaxOperator = operator({
  name: "softmax",
  infer: ([x]) => {
    if (!isFloating(x.dtype)) throw new ShapeError(`softmax: expected a floating dtype, not ${x.dtype}; cast first`);
    return { shape: x.shape, dtype: x.dtype };
  },
  gradient: (g, node) => {
    const weighted = g.mul(node);
    return [weighted.sub(node.mul(weighted.sum([-1], true)))];
  },
});

const crossEntropyOperator = operator({
  name: "crossEntropy",
  infer: ([logits, labels]) => {
    if (logits.shape.length !== 2 || showShape(labels.shape) !== showShape(logits.shape.slice(0, 1))) {
      throw new ShapeError(
        `crossEntropy: expected logits [n, classes] and labels [n]; got ${showShape(logits.shape)} and ${showShape(labels.shape)}`,
      );
    }
    if (labels.dtype !== "int32") throw new ShapeError(`crossEntropy: labels must be int32, not ${labels.dtype}`);
    return { shape: labels.shape, dtype: logits.dtype };
  },
  gradient: (g, node) => [crossEntropyGradientOperator([node.inputs[0], node.inputs[1], g], {}), undefined],
});

/** (softmax(logits) - onehot(labels)) * g; zero in rows with ignored labels. */
const crossEntropyGradientOperator = operator({
  name: "crossEntropyGradient",
  infer: ([logits]) => ({ shape: logits.shape, dtype: logits.dtype }),
  gradient: (gg, node) => {
    const [logits, labels, g] = node.inputs;
    const p = softmax(logits);
    const valid = where(equal(labels, -100), 0, 1);
    const column = (t: Tensor) => t.reshape([t.shape[0], 1]);
    const oneHot = where(equal(column(labels), arange(logits.shape[1])), 1, 0);
    const direction = gg.mul(column(g.mul(valid)));
    const weighted = direction.mul(p);
    return [weighted.sub(p.mul(weighted.sum([1], true))), undefined, gg.mul(sub(p, oneHot)).sum([1]).mul(valid)];
  },
});

const rmsNormOperator = operator({
  name: "rmsNorm",
  infer: ([x, weight]) => {
    if (weight.shape.length !== 1 || weight.shape[0] !== x.shape.at(-1)) {
      throw new ShapeError(
        `rmsNorm: expected weight [${x.shape.at(-1)}] for x ${showShape(x.shape)}; got ${showShape(weight.shape)}`,
      );
    }
    return { shape: x.shape, dtype: x.dtype };
  },
  gradient: (g, node) => {
    const [x, weight] = node.inputs;
    const meanSquare = x.mul(x).mean([-1], true);
    const inverse = div(1, meanSquare.add(node.attributes.epsilon).sqrt());
    const normalized = x.mul(inverse);
    const scaled = g.mul(weight);
    const dx = scaled.sub(normalized.mul(scaled.mul(normalized).mean([-1], true))).mul(inverse);
    return [dx, sumTo(g.mul(normalized), weight.shape)];
  },
});

const layerNormOperator = operator({
  name: "layerNorm",
  infer: ([x, weight, bias]) => {
    const width = showShape(x.shape.slice(-1));
    if (x.shape.length === 0 || showShape(weight.shape) !== width || showShape(bias.shape) !== width) {
      throw new ShapeError(
        `layerNorm: expected weight and bias ${width} for x ${showShape(x.shape)}; got ${showShape(weight.shape)} and ${showShape(bias.shape)}`,
      );
    }
    return { shape: x.shape, dtype: x.dtype };
  },
  gradient: (g, node) => {
    const [x, weight, bias] = node.inputs;
    const centered = x.sub(x.mean([-1], true));
    const inverse = div(1, centered.mul(centered).mean([-1], true).add(node.attributes.epsilon).sqrt());
    const normalized = centered.mul(inverse);
    const scaled = g.mul(weight);
    const along = normalized.mul(scaled.mul(normalized).mean([-1], true));
    const dx = scaled
      .sub(scaled.mean([-1], true))
      .sub(along)
      .mul(inverse);
    return [dx, sumTo(g.mul(normalized), weight.shape), sumTo(g, bias.shape)];
  },
});

const rotaryOperator: (inputs: readonly Tensor[], attributes: NeuralAttributes["rotary"]) => Tensor = operator({
  name: "rotary",
  infer: ([x, positions, cos, sin]) => {
    const [batch, , length, width] = x.shape;
    const fits =
      x.shape.length === 4 &&
      showShape(positions.shape) === showShape([batch, length]) &&
      cos.shape.length === 2 &&
      showShape(cos.shape) === showShape(sin.shape) &&
      cos.shape[1] * 2 === width;
    if (!fits) {
      throw new ShapeError(
        `rotary: expected x [batch, heads, length, width], positions [batch, length] and tables [positions, width / 2]; got ${showShape(x.shape)}, ${showShape(positions.shape)}, ${showShape(cos.shape)} and ${showShape(sin.shape)}`,
      );
    }
    return { shape: x.shape, dtype: x.dtype };
  },
  // The transpose of a rotation is the rotation by the opposite angle.
  gradient: (g, node) => {
    const [, positions, cos, sin] = node.inputs;
    return [
      rotaryOperator([g, positions, cos, sin], { inverse: !node.attributes.inverse }),
      undefined,
      undefined,
      undefined,
    ];
  },
});

/** Softmax over one axis, by default the last. */
export function softmax(x: Tensor, axis = -1): Tensor {
  const along = normalizeAxis("softmax", axis, x.shape);
  if (along === x.shape.length - 1) return softmaxOperator([x], {});
  return swapAxes(softmaxOperator([swapAxes(x, along, -1)], {}), along, -1);
}

/** log(softmax(x)) over one axis, numerically stable. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return x.sub(logSumExp(x, [axis], true));
}

/**
 * Cross entropy of each row: -log softmax(logits)[label], or zero where the label is -100.
 * @param logits float32 [n, classes]
 * @param labels int32 [n], each -100 or in [0, classes)
 */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  return crossEntropyOperator([logits, labels], {});
}

/** x / sqrt(mean(x^2) + epsilon) * weight over the last axis (Zhang & Sennrich 2019). */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  return rmsNormOperator([x, weight], { epsilon });
}

/**
 * (x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis (Ba et al. 2016).
 * @param weight float [width]
 * @param bias float [width]
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, epsilon = 1e-5): Tensor {
  return layerNormOperator([x, weight, bias], { epsilon });
}

/**
 * Rotary position embedding (Su et al. 2021): rotates element pairs (j, j + width / 2) by the angle of their position. No
 * gradient flows into the tables.
 * @param x float32 [batch, heads, length, width]
 * @param positions int32 [batch, length], row indices of the tables
 * @param cos float32 [positions, width / 2]
 * @param sin float32 [positions, width / 2]
 */
export function rotary(x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor): Tensor {
  return rotaryOperator([x, positions, cos, sin], { inverse: false });
}
