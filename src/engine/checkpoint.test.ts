import { afterAll, expect, test } from "vitest";
import {
  checkpoint,
  customGradient,
  grad,
  input,
  Random,
  type Tensor,
  tanh,
  tensor,
  variable,
} from "../tensor/index.ts";
import { Engine } from "./index.ts";
import { estimateMemory } from "./memory.ts";
import { defineProgram } from "./program.ts";

const engine = await Engine.open({ device: "cpu", threads: 2 });
afterAll(() => engine.close());

type Wrap = (fn: (x: Tensor) => Tensor) => (x: Tensor) => Tensor;
const plain: Wrap = (fn) => fn;
const random = new Random(5, "checkpoint");
const weights = Array.from({ length: 12 }, () => tensor(random.normal(64, 0.5), [8, 8]));
const first = tensor(random.normal(256 * 8), [256, 8]);

/** Groups of three blocks: `outer` is put around each group, `inner` around each block. */
function network(x: Tensor, outer: Wrap, inner: Wrap): Tensor {
  const block = (w: Tensor) => inner((h) => h.add(tanh(tanh(tanh(h.matmul(w)).mul(2)).mul(3))));
  const group = (at: number) => outer((h) => [0, 1, 2].reduce((y, i) => block(weights[at + i])(y), h));
  return [0, 3, 6, 9].reduce((h, at) => group(at)(h), x);
}
const gradients = (outer: Wrap, inner: Wrap) => grad(network(first, outer, inner).square().sum(), [first, ...weights]);

test("nested checkpoints give the same gradients as no checkpoints", async () => {
  const outputs = (list: readonly Tensor[], name: string) => list.map((g, i) => [`${name} ${i}`, g] as const);
  const program = await engine.compile({
    outputs: Object.fromEntries([
      ...outputs(gradients(plain, plain), "plain"),
      ...outputs(gradients(checkpoint, checkpoint), "nested"),
    ]),
  });
  const found = await program.run();
  for (let i = 0; i <= weights.length; i++) expect(found[`nested ${i}`]).toEqual(found[`plain ${i}`]);
  await program.release();
});

test("nested checkpoints need less memory than one level, and one level less than none", () => {
  const workspace = (outer: Wrap, inner: Wrap) => {
    const outputs = Object.fromEntries(gradients(outer, inner).map((g, i) => [`g${i}`, g]));
    return estimateMemory(defineProgram({ outputs })).workspace;
  };
  const nested = workspace(checkpoint, checkpoint);
  const [inner, outer, none] = [workspace(plain, checkpoint), workspace(checkpoint, plain), workspace(plain, plain)];
  expect(nested).toBeLessThan(inner);
  expect(nested).toBeLessThan(outer);
  expect(Math.max(inner, outer)).toBeLessThan(none);
});

test("a custom gradient inside a checkpoint uses the recomputed values", () => {
  const seen: Tensor[] = [];
  const square = customGradient({
    forward: (x) => x.mul(x),
    backward: (g, _, x) => {
      seen.push(x);
      return [g.mul(x).mul(2)];
    },
  });
  const x = input("x", [3]);
  const original: Tensor[] = [];
  const y = checkpoint((h) => {
    const inside = h.add(1);
    original.push(inside);
    return square(inside);
  })(x);
  grad(y.sum(), [x]);
  expect(seen).toHaveLength(1);
  expect(seen[0].operator.name).toBe("add");
  expect(seen[0]).not.toBe(original[0]);
});

test("second derivatives work through nested checkpoints", async () => {
  const x = tensor(Float32Array.of(0.3, -0.7));
  const second = (wrap: Wrap) => {
    const y = wrap((h) => wrap((k) => tanh(k.mul(k)))(h).mul(h))(x);
    return grad(grad(y.sum(), [x])[0].sum(), [x])[0];
  };
  const program = await engine.compile({ outputs: { plain: second(plain), nested: second(checkpoint) } });
  const found = await program.run();
  for (const i of [0, 1]) expect(found.nested[i]).toBeCloseTo(found.plain[i], 5);
  await program.release();
});

test("build time is linear in the number of checkpoints", () => {
  const build = (layers: number) => {
    const w = variable("w", [8, 8]);
    const inner = (h: Tensor) => checkpoint((k: Tensor) => tanh(tanh(k.matmul(w)).mul(2)))(h);
    const layer = (h: Tensor) => checkpoint((k: Tensor) => Array.from({ length: 8 }).reduce<Tensor>(inner, k))(h);
    const start = performance.now();
    const x = input("x", [4, 8]);
    grad(Array.from({ length: layers }).reduce<Tensor>(layer, x).sum(), [x, w]);
    return performance.now() - start;
  };
  build(8);
  const [few, many] = [Math.min(build(32), build(32), build(32)), Math.min(build(128), build(128))];
  expect(few).toBeLessThan(1000);
  expect(many / few).toBeLessThan(10);
});
