import { input, matmul, Random, type Tensor } from "../tensor/index.ts";
import type { Engine } from "./engine.ts";

/**
 * How fast a device multiplies float32 matrices: the ceiling of whatever trains on it.
 * @param seconds how long to measure, after a first run that compiles
 * @param size width of the square matrices
 * @returns 10^9 operations a second, the best of the runs
 */
export async function measureGflops(engine: Engine, seconds: number, size = 1024): Promise<number> {
  const count = 8;
  const [a, b] = [input("a", [size, size]), input("b", [size, size])];
  // Each product needs the one before: none can be left out, and only one number comes back.
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
