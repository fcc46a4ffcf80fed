import { afterAll, expect, test } from "vitest";
import { Engine, program } from "../engine/index.ts";
import { estimateMemory } from "../engine/memory.ts";
import { defineProgram } from "../engine/program.ts";
import { type AttentionOptions, attention, linearCrossEntropy } from "../nn/index.ts";
import {
  crossEntropy,
  grad,
  input,
  matmul,
  Random,
  type Shape,
  ShapeError,
  softmax,
  type Tensor,
  tensor,
  variable,
  where,
} from "../tensor/index.ts";
import { Tokenizer } from "../text/index.ts";
import { Phi3ForCausalLM } from "./index.ts";

const engine = await Engine.open({ device: "cpu", threads: 2 });
afterAll(() => engine.close());

const random = new Random(9, "attention");
const normal = (shape: Shape) => tensor(random.normal(shape.reduce((a, b) => a * b, 1)), shape);

/** Outputs of one run, by name. */
async function run(outputs: Record<string, Tensor>): Promise<Record<string, number[]>> {
  const program = await engine.compile({ outputs });
  const found = await program.run();
  await program.release();
  return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, Array.from(values)]));
}

function largestDifference(a: readonly number[], b: readonly number[]): number {
  expect(a.length).toBe(b.length);
  return Math.max(...a.map((x, i) => Math.abs(x - b[i])));
}

const [batch, heads, length, width] = [2, 4, 37, 8];
/** Packed documents of several lengths; the second row ends in padding. */
const documents = Array.from({ length: batch * length }, (_, i) => {
  const [row, at] = [Math.floor(i / length), i % length];
  return row === 0 ? (at < 11 ? 1 : at < 12 ? 2 : 3) : at < 30 ? 1 : 0;
});
const segments = tensor(Int32Array.from(documents), [batch, length]);

/** The definition, with a mask from plain loops and keys copied for each head. */
function plain(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { causal = true, slidingWindow = length, scale }: Partial<AttentionOptions>,
) {
  const visible = Uint8Array.from({ length: batch * length * length }, (_, i) => {
    const [b, at, to] = [Math.floor(i / length / length), Math.floor(i / length) % length, i % length];
    const own = documents[b * length + at] === documents[b * length + to];
    return Number(own && (!causal || (to <= at && to > at - slidingWindow)));
  });
  const times = heads / k.shape[1];
  const repeat = (t: Tensor) => {
    const wide = t
      .reshape([batch, heads / times, 1, length, width])
      .broadcastTo([batch, heads / times, times, length, width]);
    return wide.reshape([batch, heads, length, width]);
  };
  const scores = matmul(q, repeat(k), { transposeB: true, scale: scale ?? 1 / Math.sqrt(width) });
  return softmax(where(tensor(visible, [batch, 1, length, length]), scores, -1e30)).matmul(repeat(v));
}

const cases: Record<string, { groups: number; options: Partial<AttentionOptions> }> = {
  "packed documents": { groups: 4, options: {} },
  "grouped queries": { groups: 2, options: { scale: 0.7 } },
  "a sliding window": { groups: 4, options: { slidingWindow: 5 } },
  "a sliding window that reaches over several blocks, one group": { groups: 1, options: { slidingWindow: 14 } },
  "both directions": { groups: 2, options: { causal: false } },
};

test.each(Object.entries(cases))(
  "%s: unblocked and blocked attention agree with the definition, with gradients",
  async (_, { groups, options }) => {
    const inputs = [
      normal([batch, heads, length, width]),
      normal([batch, groups, length, width]),
      normal([batch, groups, length, width]),
    ];
    const [q, k, v] = inputs;
    const weights = normal([batch, heads, length, width]);
    const outputs: Record<string, Tensor> = {};
    const results = {
      plain: plain(q, k, v, options),
      whole: attention(q, k, v, { segments, ...options }),
      // At most 4 queries of 37 keys at a time.
      blocks: attention(q, k, v, { segments, ...options, wholeBytes: 0, blockBytes: batch * heads * 4 * 37 * 4 }),
    };
    for (const [name, y] of Object.entries(results)) {
      outputs[name] = y;
      grad(y.mul(weights).sum(), inputs).forEach((g, i) => {
        outputs[`${name} ${i}`] = g;
      });
    }
    const found = await run(outputs);
    for (const part of ["", " 0", " 1", " 2"]) {
      expect(largestDifference(found[`whole${part}`], found[`plain${part}`])).toBeLessThan(1e-5);
      expect(largestDifference(found[`blocks${part}`], found[`plain${part}`])).toBeLessThan(1e-5);
    }
  },
);

test("memory is linear in the length if blocked, and quadratic otherwise", () => {
  const workspace = (tokens: number, options: Partial<AttentionOptions>) => {
    const q = variable("q", [1, 8, tokens, 16]);
    const k = variable("k", [1, 2, tokens, 16]);
    const y = attention(q, k, k, { segments: input("segments", [1, tokens], "int32"), ...options });
    const [dq, dk] = grad(y.sum(), [q, k]);
    return estimateMemory(defineProgram({ outputs: { y, dq, dk } })).workspace;
  };
  const blocks = { wholeBytes: 0, blockBytes: 1e5, slidingWindow: 64 };
  expect(workspace(1024, blocks) / workspace(512, blocks)).toBeLessThan(2.1);
  expect(workspace(2048, { wholeBytes: 1e9 }) / workspace(1024, { wholeBytes: 1e9 })).toBeGreaterThan(3.5);
  expect(workspace(1024, blocks)).toBeLessThan(workspace(1024, { wholeBytes: 1e9 }) / 4);
});

test("incompatible shapes and a window without causal attention cause errors that name them", () => {
  const q = normal([batch, heads, length, width]);
  expect(() =>
    attention(q, normal([batch, 3, length, width]), normal([batch, 3, length, width]), { segments }),
  ).toThrow("key [2, 3, 37, 8]");
  expect(() => attention(q, q, q, { segments, causal: false, slidingWindow: 4 })).toThrow(ShapeError);
});

test("linearCrossEntropy equals crossEntropy, unblocked and blocked, with gradients", async () => {
  const [states, weight] = [normal([13, 6]), normal([29, 6])];
  const targets = tensor(Int32Array.from({ length: 13 }, (_, i) => (i % 4 === 1 ? -100 : (i * 7) % 29)));
  const scales = normal([13]);
  const losses = {
    plain: crossEntropy(matmul(states, weight, { transposeB: true }), targets),
    whole: linearCrossEntropy(states, weight, targets),
    blocks: linearCrossEntropy(states, weight, targets, { blockBytes: 29 * 4 * 3 }),
  };
  const outputs: Record<string, Tensor> = {};
  for (const [name, y] of Object.entries(losses)) {
    const [ds, dw] = grad(y.mul(scales).sum(), [states, weight]);
    Object.assign(outputs, { [name]: y, [`${name} states`]: ds, [`${name} weight`]: dw });
  }
  const found = await run(outputs);
  expect(found.plain[1]).toBe(0);
  expect(found.plain[0]).toBeGreaterThan(0);
  for (const part of ["", " states", " weight"]) {
    expect(found[`whole${part}`]).toEqual(found[`plain${part}`]);
    expect(largestDifference(found[`blocks${part}`], found[`plain${part}`])).toBeLessThan(1e-5);
  }
});

test("blocked logits are never all in memory, and incompatible shapes cause an error", () => {
  const workspace = (n: number) => {
    const [states, weight] = [variable("states", [n, 4]), variable("weight", [1000, 4])];
    const loss = linearCrossEntropy(states, weight, input("targets", [n], "int32"), { blockBytes: 40_000 }).mean();
    return estimateMemory(defineProgram({ outputs: { loss, ds: grad(loss, [states])[0] } })).workspace;
  };
  expect(workspace(1000) - workspace(100)).toBeLessThan(900 * 4 * 4 * 8);
  const wrong = (width: number, rows: number) => () =>
    linearCrossEntropy(normal([3, 4]), normal([9, width]), input("t", [rows], "int32"));
  expect(wrong(5, 3)).toThrow("matmul: inner sizes differ: [3, 4] and [9, 5] transposed");
  expect(wrong(4, 2)).toThrow("expected states [n, hidden] and targets [n]; got [3, 4] and [2]");
});

test("gradient checkpointing splits the feed-forward part of long rows, with the same gradients", async () => {
  const sizes = { hiddenSize: 8, intermediateSize: 16, numHiddenLayers: 1, numAttentionHeads: 2 };
  const tokenizer = Tokenizer.train(["a b"], { vocabSize: 261 });
  const model = new Phi3ForCausalLM({ ...sizes, maxPositionEmbeddings: 2048 }, tokenizer, { engine }).initialize(1);
  const parameters = model.parameters();
  const ids = tensor(
    Int32Array.from({ length: 1500 }, (_, i) => (i * 7) % 260),
    [1, 1500],
  );
  const gradients = program(
    (inputIds: Tensor) => {
      const loss = model.forward(inputIds).square().mean();
      return { loss, ...Object.fromEntries(grad(loss, parameters).map((g, i) => [`g${i}`, g])) };
    },
    { engine },
  );
  const plain = await gradients(ids);
  model.gradientCheckpointing = true;
  const parts = await gradients(ids);
  expect(gradients.compilations).toBe(2);
  for (const [name, value] of Object.entries(plain)) {
    const [a, b] = [await value.data(), await (parts as Record<string, Tensor>)[name].data()];
    const largest = a.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    for (let i = 0; i < a.length; i++) expect(Math.abs(a[i] - b[i])).toBeLessThan(1e-4 * largest + 1e-9);
  }
});
