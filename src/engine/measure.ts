import { input, matmul, Random, type Tensor } from "../tensor/index.ts";
import type { Engine } from "./engine.ts";

/**
 * Measures how fast a device multiplies float32 matrices, an upper bound for training on it.
 * @param seconds duration of the measurement, after a first run that compiles
 * @param size width of the square matrices
 * @returns GFLOPS of the best run
 */
export async function measureGflops(engine: Engine, seconds: number, size = 1024): Promise<number> {
  const count = 8;
  const [a, b] = [input("a", [size, size]), input("b", [size, size])];
  // Each product depends on the previous one, so none can be skipped, and only one number is copied back.
  let product: Tensor = a;
  for (let i = 0; i < count; i++) product = matmul(product, b);
  const program = await engine.compile({ name: "the measurement", outputs: { y: product.slice(0, 0, 1).sum() } });
  const random = new Random(1, "measure");
  const values = { a: random.normal(size * size), b: random.normal(size * size, 1 / Math.sqrt(size)) };
  await program.run(values);
  let best = Number.POSITIVE_INFINITY;
  const end = performance.now() + 1000 * seconds;
  do {
    const start = performance.now();
    await program.run(values);
    best = Math.min(best, performance.now() - start);
  } while (performance.now() < end);
  await program.release();
  return (2 * size ** 3 * count) / (best / 1000) / 1e9;
}
