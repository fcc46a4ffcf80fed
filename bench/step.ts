// Shared by the training benches: one step of a model of given sizes, and the matrix products as its upper bound.

import { input, matmul, Random, type Tensor } from "../src/faces/tensor.ts";
import {
  AdamW,
  type CompiledProgram,
  collate,
  type Engine,
  type Example,
  LoraConfig,
  Phi3ForCausalLM,
  program,
  type TensorData,
  Tokenizer,
} from "../src/index.ts";

/** A model of Phi-3's architecture, a batch, and the training method. */
export interface StepSpec {
  method: "full" | "lora";
  layers: number;
  width: number;
  heads: number;
  mlp: number;
  vocabulary: number;
  batch: number;
  length: number;
  /** Recompute layers in the backward pass: `checkpointing` on the command line. */
  gradientCheckpointing?: boolean;
  /** int8 products: `int8` on the command line. For LoRA on a quantized model, or with SwitchBack. */
  int8?: boolean;
}

/** Parses the sizes in the order of the command line; the defaults are those of the reference model. */
export function parseSpec(args: readonly string[]): StepSpec {
  const numbers = args.filter((argument) => /^\d+$/.test(argument)).map(Number);
  const [layers = 8, width = 512, heads = 8, mlp = 1408, vocabulary = 8192, batch = 4, length = 256] = numbers;
  const method = args.includes("lora") ? "lora" : "full";
  const gradientCheckpointing = args.includes("checkpointing");
  const sizes = { layers, width, heads, mlp, vocabulary, batch, length };
  return { method, ...sizes, gradientCheckpointing, int8: args.includes("int8") };
}

/** Returns the sizes in the order of the peers' arguments. */
export const sizesOf = ({ layers, width, heads, mlp, vocabulary, batch, length }: StepSpec): number[] => {
  return [layers, width, heads, mlp, vocabulary, batch, length];
};

/** Work that can be timed. */
export interface Work {
  /** Floating-point operations in its matrix products. */
  flop: number;
  run(): Promise<unknown>;
  release(): Promise<void>;
}

/** Compiles a training step on random tokens; `compileSeconds` includes the first step. */
export async function openStep(engine: Engine, spec: StepSpec): Promise<Work & { compileSeconds: number }> {
  const { method, layers, width, mlp, vocabulary, batch, length } = spec;
  const sizes = {
    hiddenSize: width,
    intermediateSize: mlp,
    numHiddenLayers: layers,
    numAttentionHeads: spec.heads,
    vocabSize: vocabulary,
    maxPositionEmbeddings: Math.max(length, 256),
  };
  const tokenizer = Tokenizer.train(["bench"], { vocabSize: 261 });
  const model = new Phi3ForCausalLM(sizes, tokenizer, { engine }).initialize(1);
  if (spec.int8 && method === "lora") await model.quantize("int8");
  if (method === "lora") await model.addAdapter(new LoraConfig({ r: 16, loraAlpha: 32 }), { seed: 1 });
  model.gradientCheckpointing = spec.gradientCheckpointing ?? false;
  if (spec.int8 && method === "full") for (const layer of model.projections().values()) layer.precision = "int8";
  const optimizer = new AdamW({ learningRate: 1e-4, weightDecay: 0.01, maxGradNorm: 1 });
  optimizer.listener = { before: () => undefined, after: () => undefined };
  const random = new Random(2, "data");
  const rows = Array.from({ length: batch }, (): Example[] => {
    const ids = Array.from({ length }, () => 1 + random.integer(vocabulary - 1));
    return [{ inputIds: ids, labels: ids }];
  });
  const data = collate(rows, length, 0);
  const step = program(
    (inputIds: Tensor, positions: Tensor, segments: Tensor, targets: Tensor) => {
      const { states } = model.decode({ inputIds, positions, segments });
      const loss = model
        .tokenLoss(states, targets.reshape([targets.size]))
        .sum()
        .div(data.tokens);
      optimizer.minimize(loss, model);
      return { loss };
    },
    { engine, name: "the training step" },
  );
  const [ids, positions, segments, targets] = [data.inputIds, data.positions, data.segments, data.targets].map(
    (values) => ({ dtype: "int32" as const, shape: [batch, length], data: values }),
  );
  const run = () => step(ids, positions, segments, targets);
  const start = performance.now();
  await run();
  const compileSeconds = (performance.now() - start) / 1000;
  // Matrix products only: two operations per weight and token forward, the same for the input's gradient, and for the
  // weight's gradient if it is trained; for attention twice the sequence length, three times.
  const weights = layers * (width * 3 * width + width * width + 3 * width * mlp) + vocabulary * width;
  const attention = layers * 2 * length * width;
  const passes = method === "lora" ? 2 : 3;
  return {
    flop: 2 * batch * length * (weights * passes + attention * 3),
    compileSeconds,
    run,
    release: async () => {
      await step.release();
      await model.release();
    },
  };
}

/** Compiles matrix products as an upper bound of the device's speed: ten products of the step's size. */
export async function openCeiling(engine: Engine, [m, k, n] = [1024, 2048, 2048]): Promise<Work> {
  const random = new Random(1, "ceiling");
  const [a, b] = [input("a", [m, k]), input("b", [k, n])];
  const count = 10;
  let sum = matmul(a, b).sum();
  for (let i = 1; i < count; i++) sum = sum.add(matmul(a.add(i), b).sum());
  const products: CompiledProgram = await engine.compile({ outputs: { sum } });
  const inputs: Record<string, TensorData> = { a: random.normal(m * k), b: random.normal(k * n) };
  return { flop: 2 * m * k * n * count, run: () => products.run(inputs), release: () => products.release() };
}

/** Returns the duration of a call in seconds. */
export async function time(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

/** Returns the median. */
export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
