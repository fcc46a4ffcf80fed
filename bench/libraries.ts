// One step of gradient descent of a small network, compared with other JavaScript libraries: TensorFlow.js and jax-js, both with
// their WebAssembly backends. They are installed into a temporary folder; without a registry they are skipped.
// Arguments: batch and the layers' widths.
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crossEntropy, grad, input, Random, relu, type Tensor, variable } from "../src/faces/tensor.ts";
import { Engine } from "../src/index.ts";
import { Peer, peerScript } from "./peer.ts";
import { median, time } from "./step.ts";

const sizes = process.argv.slice(2).map(Number).filter(Boolean);
const [batch, ...widths] = sizes.length > 2 ? sizes : [128, 784, 512, 512, 10];
const rounds = 9;
const libraries = {
  "TensorFlow.js": { packages: ["@tensorflow/tfjs", "@tensorflow/tfjs-backend-wasm"], script: "mlp_tfjs.mjs" },
  "jax-js": { packages: ["@jax-js/jax"], script: "mlp_jax.mjs" },
};

async function ownStep(engine: Engine): Promise<() => Promise<unknown>> {
  const random = new Random(1, "libraries");
  const weights = widths.slice(1).map((n, i) => variable(`w${i}`, [widths[i], n]));
  const state = engine.createState();
  for (const { attributes, shape } of weights) {
    const data = random.normal(shape[0] * shape[1], shape[0] ** -0.5);
    await state.write({ [attributes.name]: { dtype: "float32", shape, data } });
  }
  let h: Tensor = input("x", [batch, widths[0]]);
  weights.forEach((w, i) => {
    h = i < weights.length - 1 ? relu(h.matmul(w)) : h.matmul(w);
  });
  const loss = crossEntropy(h, input("y", [batch], "int32")).mean();
  const gradients = grad(loss, weights);
  const updates = Object.fromEntries(weights.map((w, i) => [w.attributes.name, w.sub(gradients[i].mul(0.01))]));
  const program = await engine.compile({ outputs: { loss }, updates });
  const x = random.normal(batch * widths[0]);
  const y = Int32Array.from({ length: batch }, () => random.integer(widths[widths.length - 1]));
  return () => program.run({ x, y }, state);
}

const folder = mkdtempSync(join(tmpdir(), "anneal-libraries-"));
const engine = await Engine.open({ device: "cpu" });
const step = await ownStep(engine);
for (let i = 0; i < 3; i++) await step();
const results: Record<string, { milliseconds: number; ours: number; timesAsFast: number }> = {};
for (const [name, { packages, script }] of Object.entries(libraries)) {
  try {
    writeFileSync(join(folder, "package.json"), '{"type":"module"}');
    const flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    execFileSync("npm", ["install", ...flags, ...packages], { cwd: folder, stdio: "ignore", timeout: 180_000 });
  } catch {
    process.stdout.write(`${name}: skipped, its packages could not be installed\n`);
    continue;
  }
  cpSync(peerScript(script), join(folder, script));
  const peer = await Peer.run(process.execPath, [join(folder, script), String(batch), ...widths.map(String)]);
  const pairs: { own: number; other: number }[] = [];
  for (let i = 0; i < rounds; i++) pairs.push({ own: await time(step), other: await peer.step() });
  await peer.end();
  results[name] = {
    milliseconds: Number((1000 * median(pairs.map(({ other }) => other))).toFixed(2)),
    ours: Number((1000 * median(pairs.map(({ own }) => own))).toFixed(2)),
    timesAsFast: Number(median(pairs.map(({ own, other }) => other / own)).toFixed(1)),
  };
  const { milliseconds, ours, timesAsFast } = results[name];
  process.stdout.write(`${name}: ${milliseconds} ms per step, ours ${ours} ms: ${timesAsFast} times as fast\n`);
}
await engine.close();
rmSync(folder, { recursive: true, force: true });
process.stdout.write(
  `${JSON.stringify({ bench: "libraries", batch, widths, threads: engine.device.threads, ...results })}\n`,
);
