// What layers, losses and first values give, against values worked out by hand.
import { afterAll, describe, expect, test } from "vitest";
import { sharedEngine } from "../engine/index.ts";
import { crossEntropy, grad, Random, randomNormal, ShapeError, Tensor, tensor } from "../tensor/index.ts";
import {
  attention,
  bceWithLogitsLoss,
  CompressedWeight,
  Conv1d,
  Conv2d,
  Dropout,
  Embedding,
  fullWeight,
  huberLoss,
  init,
  LayerAdapter,
  LayerNorm,
  Linear,
  l1Loss,
  linear,
  Module,
  mseLoss,
  projectedCrossEntropy,
  RMSNorm,
  Sequential,
  type Weight,
} from "./index.ts";

process.env.ANNEAL_DEVICE = "cpu";
afterAll(async () => (await sharedEngine()).close());

const near = (found: unknown, wanted: readonly number[]) => {
  const values = [found].flat(9) as number[];
  expect(values).toHaveLength(wanted.length);
  for (const [i, value] of values.entries()) expect(value).toBeCloseTo(wanted[i], 5);
};

test("losses are means over all elements", async () => {
  const [prediction, target] = [tensor([1, 2, 5]), tensor([1, 1, 1])];
  near(await mseLoss(prediction, target).array(), [17 / 3]);
  near(await l1Loss(prediction, target).array(), [5 / 3]);
  // Half the square up to 1, from there on the distance less a half.
  near(await huberLoss(prediction, target, 1).array(), [(0 + 0.5 + 3.5) / 3]);
  const scores = tensor([0, 2, -1000]);
  near(await bceWithLogitsLoss(scores, tensor([1, 0, 0])).array(), [(Math.LN2 + Math.log1p(Math.exp(2))) / 3]);
  const undecided = tensor([0, 0]);
  near(await grad(bceWithLogitsLoss(undecided, tensor([1, 0])), [undecided])[0].array(), [-0.25, 0.25]);
});

test("the loss of a projection is the same in blocks, with gradients", async () => {
  const [states, weight] = [randomNormal([7, 4], 1), randomNormal([5, 4], 2)];
  const targets = tensor([0, 1, 2, -100, 4, 0, 3], [7], "int32");
  const project = (h: Tensor) => linear(h, weight);
  const whole = crossEntropy(project(states), targets);
  const pieces = projectedCrossEntropy(states, targets, project, 5, { blockBytes: 2 * 5 * 4 });
  const [a, b] = await Tensor.data([whole, pieces]);
  near([...b], [...a]);
  const [c, d] = await Tensor.data([...grad(whole.sum(), [weight]), ...grad(pieces.sum(), [weight])]);
  near([...d], [...c]);
});

describe("layers", () => {
  test("Linear and Sequential compute products, biases and chains", async () => {
    const layer = new Linear(2, 3).initialize(1);
    layer.loadStateDict({
      weight: { dtype: "float32", shape: [3, 2], data: Float32Array.of(1, 0, 0, 1, 1, 1) },
      bias: { dtype: "float32", shape: [3], data: Float32Array.of(0, 10, 100) },
    });
    near(await layer.forward(tensor([[2, 3]])).array(), [2, 13, 105]);
    near(await new Sequential(layer, (h) => h.neg()).forward(tensor([[[2, 3]]])).array(), [-2, -13, -105]);
    expect(await layer.forward(tensor([[[2, 3]]])).array()).toEqual([[[2, 13, 105]]]);
    expect(() => layer.forward(tensor([[1, 2, 3]]))).toThrow(ShapeError);
  });

  test("Conv1d and Conv2d have weights [out, in, ...kernel] and a bias for each output", async () => {
    const [line, picture] = [new Conv1d(1, 2, 3, { padding: "same" }), new Conv2d(2, 1, [1, 2], { bias: false })];
    for (const parameter of [line.weight, picture.weight]) parameter.set(new Float32Array(parameter.size).fill(1));
    line.bias?.set([0, 10]);
    near(await line.forward(tensor([[[1, 2, 3]]])).array(), [3, 6, 5, 13, 16, 15]);
    expect(picture.bias).toBeUndefined();
    expect(picture.weight.shape).toEqual([1, 2, 1, 2]);
    near(await picture.forward(tensor([[[[1, 2, 3]], [[10, 20, 30]]]])).array(), [33, 55]);
  });

  test("Embedding returns rows; the padding row gets no gradient", async () => {
    const table = new Embedding(3, 2, { paddingIdx: 0 });
    table.weight.set([1, 2, 3, 4, 5, 6]);
    const found = table.forward(tensor([2, 0, 2], [3], "int32"));
    near(await found.array(), [5, 6, 1, 2, 5, 6]);
    near(await grad(found.sum(), [table.weight])[0].array(), [0, 0, 0, 0, 2, 2]);
  });

  test("LayerNorm outputs have mean 0 and deviation 1, RMSNorm outputs mean square 1, before the weights", async () => {
    const [layer, rms] = [new LayerNorm(2, 0).initialize(1), new RMSNorm(2, 0).initialize(1)];
    near(await layer.forward(tensor([[1, 3]])).array(), [-1, 1]);
    near(await rms.forward(tensor([[3, 4]])).array(), [3 / Math.sqrt(12.5), 4 / Math.sqrt(12.5)]);
  });

  test("Dropout is the identity in eval mode", async () => {
    near(
      await new Dropout(0.5)
        .eval()
        .forward(tensor([1, 2]))
        .array(),
      [1, 2],
    );
    expect(() => new Dropout(1)).toThrow();
  });
});

test("attention sees no later tokens and no other documents", async () => {
  // Queries that like all keys alike: each token gets the mean of the values that it sees.
  const [query, key] = [tensor(new Float32Array(8), [1, 1, 4, 2]), randomNormal([1, 1, 4, 2], 1)];
  const value = tensor([1, 0, 3, 0, 10, 0, 30, 0], [1, 1, 4, 2]);
  const segments = tensor([1, 1, 2, 2], [1, 4], "int32");
  near(await attention(query, key, value, { segments }).at("...", 0).array(), [1, 2, 10, 20]);
  const one = tensor([1, 1, 1, 1], [1, 4], "int32");
  const windowed = attention(query, key, value, { segments: one, slidingWindow: 2 });
  near(await windowed.at("...", 0).array(), [1, 2, 6.5, 20]);
});

test("initializers have the documented spread", () => {
  const draw = (initializer: (shape: number[], random: Random) => ArrayLike<number>) =>
    Array.from(initializer([200, 100], new Random(1, "test")));
  const deviation = (values: number[]) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
  const bound = (values: number[]) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  expect(new Set(draw(init.constant(3)))).toEqual(new Set([3]));
  expect(deviation(draw(init.normal(0.02)))).toBeCloseTo(0.02, 3);
  expect(bound(draw(init.uniform(-0.5, 0.5)))).toBeCloseTo(0.5, 2);
  expect(bound(draw(init.kaimingUniform()))).toBeCloseTo(0.1, 3);
  expect(deviation(draw(init.kaimingNormal()))).toBeCloseTo(Math.SQRT2 / 10, 2);
  expect(bound(draw(init.xavierUniform()))).toBeCloseTo(Math.sqrt(6 / 300), 3);
});

/** A weight kept as its sign and one size. */
class OneBit extends CompressedWeight {
  readonly shape = [2, 2] as const;
  readonly kind = "one bit";
  dequantize(): Tensor {
    return tensor([
      [0.5, -0.5],
      [-0.5, 0.5],
    ]);
  }
  override forward(x: Tensor): Tensor {
    return linear(x, this.dequantize());
  }
}

/** Adds what the layer gives once more. */
class Doubling extends LayerAdapter {
  override forward(y: Tensor): Tensor {
    return y.mul(2);
  }
  merge(weight: Tensor): Tensor {
    return weight.mul(2);
  }
}

test("a layer accepts a quantized weight, and adapters by name", async () => {
  const layer = new Linear<Weight>(2, 2, { bias: false });
  layer.weight = new OneBit();
  near(await layer.forward(tensor([[1, 2]])).array(), [-0.5, 0.5]);
  near(await fullWeight(layer.weight).array(), [0.5, -0.5, -0.5, 0.5]);
  const adapter = new Doubling();
  layer.adapters.set("twice", adapter);
  near(await layer.forward(tensor([[1, 2]])).array(), [-0.5, 0.5]);
  layer.activeAdapters = ["twice"];
  near(await layer.forward(tensor([[1, 2]])).array(), [-1, 1]);
  near(await linear(tensor([[1, 2]]), adapter.merge(fullWeight(layer.weight))).array(), [-1, 1]);
});

test("a module finds and counts its parameters, and rejects values of other shapes", async () => {
  class Pair extends Module {
    readonly first = new Linear(2, 3);
    readonly others = [new Linear(3, 1, { bias: false })];
    forward(x: Tensor): Tensor {
      return this.others[0].forward(this.first.forward(x));
    }
  }
  const pair = new Pair().initialize(1);
  expect([...pair.namedParameters().keys()]).toEqual(["first.weight", "first.bias", "others.0.weight"]);
  pair.first.requiresGrad(false);
  expect(pair.countParameters()).toEqual({ total: 12, trainable: 3 });
  const values = await pair.stateDict();
  const { "first.bias": bias, ...rest } = values;
  expect(() => pair.loadStateDict({ ...rest, more: bias })).toThrow("first.bias is missing; more is not in the model");
  expect(pair.loadStateDict(rest, { strict: false })).toEqual({ missing: ["first.bias"], unexpected: [] });
});
