// Tokens per second of one full training step of the reference model, and its share of the matrix-product ceiling.
import { availableParallelism, cpus } from "node:os";
import {
  collate,
  Engine,
  type Example,
  input,
  LanguageModel,
  matmul,
  Random,
  type TensorData,
  Tokenizer,
} from "../src/index.ts";
import { batchInputs } from "../src/models/index.ts";
import { AdamW } from "../src/train/optimizers/index.ts";
import { stepProgram } from "../src/train/programs.ts";

const [layers = 8, width = 512, heads = 8, mlp = 1408, vocabulary = 8192, batch = 4, length = 256] = process.argv
  .slice(2)
  .filter((argument) => /^\d+$/.test(argument))
  .map(Number);
const method = process.argv.includes("lora") ? "lora" : "full";
const rounds = 7;
const optimizer = new AdamW({ weightDecay: 0.01, maxGradNorm: 1 });

const engine = await Engine.open();
const { threads } = engine.device;

/** Median seconds of a call. */
async function time(work: () => Promise<unknown>, times: number): Promise<number> {
  const seconds: number[] = [];
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    await work();
    seconds.push((performance.now() - start) / 1000);
  }
  return seconds.sort((a, b) => a - b)[Math.floor(times / 2)];
}

/** The fastest this machine multiplies matrices now: products of the step's own size, ten in a program. */
async function ceilingProgram() {
  const [m, k, n] = [1024, 2048, 2048];
  const random = new Random(1, "ceiling");
  const [a, b] = [input("a", [m, k]), input("b", [k, n])];
  let sum = matmul(a, b).sum();
  const count = 10;
  for (let i = 1; i < count; i++) sum = sum.add(matmul(a.add(i), b).sum());
  const program = await engine.compile({ outputs: { sum } });
  const inputs: Record<string, TensorData> = { a: random.normal(m * k), b: random.normal(k * n) };
  return { flop: 2 * m * k * n * count, run: () => program.run(inputs) };
}

async function stepOf() {
  const sizes = {
    hiddenSize: width,
    intermediateSize: mlp,
    numHiddenLayers: layers,
    numAttentionHeads: heads,
    vocabSize: vocabulary,
    maxPositionEmbeddings: Math.max(length, 256),
  };
  const tokenizer = Tokenizer.train(["bench"], { vocabSize: 261 });
  const model = await LanguageModel.create({ config: sizes, tokenizer, seed: 1, engine });
  if (method === "lora") await model.addAdapter({ r: 16, loraAlpha: 32 }, 1);
  const shapes = model.parameterShapes();
  const names = model.trainableNames();
  await model.state.write(optimizer.initialState(new Map(names.map((name) => [name, shapes.get(name) ?? []]))), {
    transfer: true,
  });
  const start = performance.now();
  const program = await engine.compile(
    stepProgram(model, batch, length, { optimizer, accumulated: false, gradientCheckpointing: false }),
  );
  const compileSeconds = (performance.now() - start) / 1000;
  const random = new Random(2, "data");
  const rows = Array.from({ length: batch }, (): Example[] => {
    const ids = Array.from({ length }, () => 1 + random.integer(vocabulary - 1));
    return [{ inputIds: ids, labels: ids }];
  });
  const data = collate(rows, length, 0);
  const inputs = {
    ...batchInputs(data),
    ...optimizer.inputsAt(10, 1e-4),
    lossScale: Float32Array.of(1 / data.tokens),
  };
  // Products alone: two operations a weight and token forward, as many for the gradient of the input, and for that of
  // the weight where it is trained; attention twice the sequence, three times.
  const weights = layers * (width * 3 * width + width * width + 3 * width * mlp) + vocabulary * width;
  const attention = layers * 2 * length * width;
  const passes = method === "lora" ? 2 : 3;
  const flop = 2 * batch * length * (weights * passes + attention * 3);
  return { flop, compileSeconds, run: () => program.run(inputs, model.state) };
}

const ceiling = await ceilingProgram();
const step = await stepOf();
for (let i = 0; i < 2; i++) {
  await ceiling.run();
  await step.run();
}
// In turn, so that a machine that slows down slows both.
const pairs: { step: number; ceiling: number }[] = [];
for (let i = 0; i < rounds; i++) pairs.push({ ceiling: await time(ceiling.run, 1), step: await time(step.run, 1) });
const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const ceilingSeconds = median(pairs.map((pair) => pair.ceiling));
const stepSeconds = median(pairs.map((pair) => pair.step));
const gflops = ceiling.flop / ceilingSeconds / 1e9;
const share = median(pairs.map((pair) => step.flop / pair.step / (ceiling.flop / pair.ceiling)));
const figures = {
  bench: "train",
  method,
  model: { layers, width, heads, mlp, vocabulary, batch, length },
  device: engine.device.name,
  threads,
  cpu: cpus()[0]?.model,
  cores: availableParallelism(),
  tokensPerSecond: Math.round((batch * length) / stepSeconds),
  stepSeconds: Number(stepSeconds.toFixed(4)),
  compileSeconds: Number(step.compileSeconds.toFixed(2)),
  ceilingGflops: Number(gflops.toFixed(1)),
  shareOfCeiling: Number(share.toFixed(3)),
  peakMemoryMb: Math.round(process.resourceUsage().maxRSS / 1024),
};
process.stdout.write(
  `${method} step, ${layers} layers of width ${width}, ${batch} x ${length} tokens, float32, ${threads} threads\n` +
    `  ${figures.tokensPerSecond} tokens/s (median of ${rounds} steps; compiled in ${figures.compileSeconds} s)\n` +
    `  matrix products alone run at ${figures.ceilingGflops} GFLOP/s here: the step reaches ${(100 * share).toFixed(0)} % of that\n` +
    `  peak memory ${figures.peakMemoryMb} MB\n${JSON.stringify(figures)}\n`,
);
await engine.close();
