// One process of the bench "phi3-mini": it writes a line for each phase. Its argument is JSON.
import {
  collate,
  Engine,
  type Example,
  LoraConfig,
  Phi3ForCausalLM,
  program,
  type Quantization,
  type Tensor,
} from "../../src/index.ts";
import { Random } from "../../src/tensor/index.ts";
import { AdamW } from "../../src/train/optimizers/index.ts";
import { writeCheckpoint } from "./checkpoint.ts";
import type { Phase, Phi3Bench } from "./spec.ts";

/** Argument of the process. */
export interface PhaseRequest {
  bench: Phi3Bench;
  work: "write" | "train" | "reload";
  kind?: Quantization;
  length?: number;
  /** Folder where the adapter is saved, and loaded from. */
  adapter?: string;
}

const megabytes = () => Math.round(process.resourceUsage().maxRSS / 1024);
let started = performance.now();
let spent = process.cpuUsage();

/** Reports a phase that ends now. */
function report(phase: string, facts: Partial<Phase> = {}): void {
  const seconds = Number(((performance.now() - started) / 1000).toFixed(3));
  const { user, system } = process.cpuUsage(spent);
  const cpuSeconds = Number(((user + system) / 1e6).toFixed(3));
  process.stdout.write(`${JSON.stringify({ phase, seconds, cpuSeconds, peakMemoryMb: megabytes(), ...facts })}\n`);
  restart();
}

function restart(): void {
  started = performance.now();
  spent = process.cpuUsage();
}

/** Trains on one batch of random tokens; the first step includes building and compiling the program. */
async function train(
  model: Phi3ForCausalLM,
  engine: Engine,
  bench: Phi3Bench,
  length: number,
): Promise<Partial<Phase>> {
  const checkpointing = length >= bench.checkpointFrom;
  model.gradientCheckpointing = checkpointing;
  const optimizer = new AdamW({ learningRate: 1e-4, maxGradNorm: 1 });
  optimizer.listener = { before: () => undefined, after: () => undefined };
  const random = new Random(3, "data");
  const ids = Array.from({ length }, () => random.integer(bench.vocabulary));
  const row: Example[] = [{ inputIds: ids, labels: ids }];
  const data = collate([row], length, 0);
  const step = program(
    (inputIds: Tensor, positions: Tensor, segments: Tensor, targets: Tensor) => {
      const { states } = model.decode({ inputIds, positions, segments });
      const losses = model.tokenLoss(states, targets.reshape([targets.size]));
      const loss = losses.sum().div(data.tokens);
      optimizer.minimize(loss, model);
      return { loss };
    },
    { engine, name: `the training step, 1 x ${length} tokens` },
  );
  const [inputIds, positions, segments, targets] = [data.inputIds, data.positions, data.segments, data.targets].map(
    (values) => ({ dtype: "int32" as const, shape: [1, length], data: values }),
  );
  const losses: number[] = [];
  const stepSeconds: number[] = [];
  for (let i = 0; i < bench.steps; i++) {
    const start = performance.now();
    const { loss } = await step(inputIds, positions, segments, targets);
    stepSeconds.push(Number(((performance.now() - start) / 1000).toFixed(3)));
    losses.push(loss.item());
    process.stderr.write(`step ${i + 1}: loss ${loss.item().toFixed(4)}, ${stepSeconds[i]} s\n`);
  }
  await step.release();
  model.gradientCheckpointing = false;
  const later = stepSeconds.length > 1 ? stepSeconds.slice(1) : stepSeconds;
  const mean = later.reduce((a, b) => a + b, 0) / later.length;
  return { length, checkpointing, losses, stepSeconds, tokensPerSecond: Number((length / mean).toFixed(2)) };
}

/** Reports the last token's logits, and the tokens generated after a prompt. */
async function use(model: Phi3ForCausalLM, bench: Phi3Bench): Promise<void> {
  const random = new Random(4, "prompt");
  const prompt = Array.from({ length: 12 }, () => random.integer(bench.vocabulary));
  const logits = await (await model.logits([prompt])).data();
  report("logits", { logits: Array.from(logits.slice(-bench.vocabulary)) });
  const [{ ids }] = await model.generate([prompt], { maxNewTokens: bench.newTokens, stopTokenIds: [] });
  report("generate", {
    ids,
    tokensPerSecond: Number((bench.newTokens / ((performance.now() - started) / 1000)).toFixed(2)),
  });
}

async function main({ bench, work, kind, length, adapter = "" }: PhaseRequest): Promise<void> {
  if (work === "write") {
    const written = await writeCheckpoint(bench);
    report(written ? "write the checkpoint" : "verify the checkpoint");
    return;
  }
  const engine = await Engine.open({ device: "cpu", threads: bench.threads });
  restart();
  const quantization = kind ? { quantization: kind } : {};
  const model = await Phi3ForCausalLM.fromPretrained(bench.folder, { engine, ...quantization });
  report("load and quantize");
  if (work === "train" && length !== undefined) {
    await model.addAdapter(new LoraConfig({ r: bench.rank, loraAlpha: 2 * bench.rank }), { seed: 1 });
    report("add the adapter");
    report("train", await train(model, engine, bench, length));
    await model.saveAdapter(adapter);
    report("save the adapter");
  } else {
    await model.loadAdapter(adapter);
    report("load the adapter");
  }
  await use(model, bench);
  await engine.close();
}

await main(JSON.parse(process.argv[2]) as PhaseRequest);
