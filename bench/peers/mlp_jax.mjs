// One step of gradient descent of a small network in jax-js on its WebAssembly backend. Answers as train_step.py.
import { createInterface } from "node:readline";
import { defaultDevice, init, jit, nn, numpy as np, random, valueAndGrad } from "@jax-js/jax";

const [batch, ...widths] = process.argv.slice(2).map(Number);
const say = (facts) => process.stdout.write(`${JSON.stringify(facts)}\n`);
await init("wasm");
defaultDevice("wasm");

let weights = widths.slice(1).map((n, i) => random.normal(random.key(i), [widths[i], n]).mul(widths[i] ** -0.5));
const x = random.normal(random.key(100), [batch, widths[0]]);
const labels = np.array(
  Array.from({ length: batch }, (_, i) => i % widths.at(-1)),
  { dtype: np.int32 },
);
const y = nn.oneHot(labels, widths.at(-1));

function loss(ws, inputs, targets) {
  let h = inputs;
  ws.forEach((w, i) => {
    h = np.matmul(h, w);
    if (i < ws.length - 1) h = nn.relu(h);
  });
  return nn
    .logSoftmax(h)
    .mul(targets)
    .sum()
    .mul(-1 / batch);
}
const update = jit((ws, inputs, targets) => {
  const [cost, gradients] = valueAndGrad(loss)(
    ws.map((w) => w.ref),
    inputs,
    targets,
  );
  return [cost, ws.map((w, i) => w.sub(gradients[i].mul(0.01)))];
});
async function step() {
  const start = performance.now();
  const [cost, next] = update(weights, x.ref, y.ref);
  weights = next;
  await cost.data();
  await weights[0].ref.data();
  return (performance.now() - start) / 1000;
}

for (let i = 0; i < 3; i++) await step();
say({ ready: true });
for await (const _ of createInterface({ input: process.stdin })) say({ seconds: await step() });
say({ memory: process.resourceUsage().maxRSS * 1024 });
