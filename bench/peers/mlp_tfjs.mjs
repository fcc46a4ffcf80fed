// One step of gradient descent of a small network in TensorFlow.js on its WebAssembly backend. Answers as train_step.py.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";

const [batch, ...widths] = process.argv.slice(2).map(Number);
const say = (facts) => process.stdout.write(`${JSON.stringify(facts)}\n`);
const folder = dirname(createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm/package.json"));
setWasmPaths(`${join(folder, "wasm-out")}/`);
await tf.setBackend("wasm");
await tf.ready();

const weights = widths.slice(1).map((n, i) => tf.variable(tf.randomNormal([widths[i], n], 0, widths[i] ** -0.5)));
const x = tf.randomNormal([batch, widths[0]]);
const labels = tf.randomUniform([batch], 0, widths.at(-1), "int32");
const y = tf.cast(tf.oneHot(labels, widths.at(-1)), "float32");
const optimizer = tf.train.sgd(0.01);
const loss = () => {
  let h = x;
  weights.forEach((w, i) => {
    h = tf.matMul(h, w);
    if (i < weights.length - 1) h = tf.relu(h);
  });
  return tf.losses.softmaxCrossEntropy(y, h);
};
async function step() {
  const start = performance.now();
  const cost = optimizer.minimize(loss, true, weights);
  await cost.data();
  cost.dispose();
  return (performance.now() - start) / 1000;
}

for (let i = 0; i < 3; i++) await step();
say({ ready: true, version: tf.version.tfjs });
for await (const _ of createInterface({ input: process.stdin })) say({ seconds: await step() });
say({ memory: process.resourceUsage().maxRSS * 1024 });
