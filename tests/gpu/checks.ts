// Checks that WebGPU gives the same results as the CPU, on the available GPU or software implementation. Run as a script, it
// prints a line of JSON per check. The argument is the number of training steps. It exits with 1 if a check fails, and with 3
// if there is no GPU.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { LoraConfig } from "../../src/adapters/index.ts";
import { runsWithoutFallback } from "../../src/engine/executors.ts";
import { describeDevice, Engine, EngineError } from "../../src/index.ts";
import * as T from "../../src/tensor/index.ts";
import { train } from "../../src/train/index.ts";
import { AdamW } from "../../src/train/optimizers/index.ts";
import { toyModel, toyOptions } from "../../src/train/toy.ts";
import { operatorCases } from "./operators.ts";

/** The result of a check. */
export interface CheckResult {
  check: string;
  ok: boolean;
  /** A measured value or the error. */
  detail: string;
}

/** Tolerance for float32 results, relative to the largest value, because devices sum in different orders. */
const operatorTolerance = 2e-5;
/** Tolerance for losses during thirty training steps. */
const lossTolerance = 1e-3;

type Check = (cpu: Engine, gpu: Engine, steps: number) => Promise<string>;

function assert(condition: boolean, message: string): void {
  if (!condition) throw new Error(message);
}

function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert(a.length === b.length, `${a.length} values against ${b.length}`);
  let [worst, largest] = [0, 1];
  for (let i = 0; i < a.length; i++) {
    worst = Math.max(worst, Number.isFinite(b[i]) ? Math.abs(a[i] - b[i]) : Number.POSITIVE_INFINITY);
    largest = Math.max(largest, Math.abs(a[i]));
  }
  return worst / largest;
}

function operatorCheck(name: string): Check {
  return async (cpu, gpu) => {
    const { shapes, low = -1, high = 1, tolerance = operatorTolerance, apply } = operatorCases[name];
    const random = new T.Random(7, name);
    const draw = (size: number, from: number, to: number) =>
      Float32Array.from({ length: size }, () => from + (to - from) * random.uniform());
    const inputs = shapes.map((shape, i) => T.input(`x${i}`, shape));
    const y = apply(...inputs);
    const gradients = T.grad(y.mul(T.tensor(draw(y.size, -1, 1), y.shape)).sum(), inputs);
    const outputs = { y, ...Object.fromEntries(gradients.map((g, i) => [`gradient ${i}`, g])) };
    const values = Object.fromEntries(inputs.map(({ size }, i) => [`x${i}`, draw(size, low, high)]));
    const run = async (engine: Engine) => {
      const program = await engine.compile({ outputs });
      const found = await program.run(values);
      await program.release();
      return found;
    };
    const [expected, found] = [await run(cpu), await run(gpu)];
    const differences = Object.keys(outputs).map((key) => [key, difference(expected[key], found[key])] as const);
    for (const [key, by] of differences) {
      assert(by < tolerance, `${key} differs by ${by}: ${found[key].slice(0, 4)} for ${expected[key].slice(0, 4)}`);
    }
    return `within ${Math.max(...differences.map(([, by]) => by)).toExponential(1)}`;
  };
}

async function losses(engine: Engine, method: "full" | "lora", steps: number) {
  const model = toyModel({ engine });
  const outputDir = await mkdtemp(join(tmpdir(), "anneal-gpu-"));
  const seen: number[] = [];
  try {
    await train(model, {
      ...toyOptions(),
      ...(method === "lora" ? { peftConfig: new LoraConfig() } : {}),
      maxSteps: steps,
      outputDir,
      saveSteps: steps,
      learningRate: 5e-3,
      gradientAccumulationSteps: method === "full" ? 1 : 2,
      onStep: ({ loss }) => seen.push(loss),
    });
    const weights = await model.stateDict();
    const [{ ids }] = await model.generate(["item 7"], { maxNewTokens: 8 });
    return { losses: seen, weights, ids };
  } finally {
    await model.release();
    await rm(outputDir, { recursive: true, force: true });
  }
}

const trainingCheck =
  (method: "full" | "lora"): Check =>
  async (cpu, gpu, steps) => {
    const expected = await losses(cpu, method, steps);
    const [found, again] = [await losses(gpu, method, steps), await losses(gpu, method, steps)];
    const by = Math.max(...expected.losses.map((loss, i) => Math.abs(loss - found.losses[i])));
    const [first, last] = [found.losses[0], found.losses[found.losses.length - 1]];
    assert(by < lossTolerance, `losses differ by ${by}: ${found.losses} for ${expected.losses}`);
    assert(last < first, `the loss went from ${first} to ${last}`);
    assert(String(found.losses) === String(again.losses), "the same seed gave other losses");
    for (const [name, { data }] of Object.entries(found.weights)) {
      assert(difference(data, again.weights[name].data) === 0, `the same seed gave another ${name}`);
    }
    assert(String(found.ids) === String(again.ids), "the same seed gave another text");
    return `losses within ${by.toExponential(1)} over ${steps} steps, ${first.toFixed(2)} to ${last.toFixed(2)}; the same bits twice`;
  };

/** The training step must not contain operators on the CPU, which need copies there and back. */
const placementCheck: Check = async (cpu) => {
  const model = toyModel({ engine: cpu });
  const optimizer = new AdamW({ maxGradNorm: 1 });
  const shape = [2, 16];
  const [inputIds, positions, segments, targets] = ["ids", "positions", "segments", "targets"].map((name) =>
    T.input(name, shape, "int32"),
  );
  const { recording } = T.record(() => {
    const { states } = model.decode({ inputIds, positions, segments });
    const loss = model.tokenLoss(states, targets.reshape([32])).sum();
    optimizer.minimize(loss, model);
  });
  const updates = [...recording.updates].map(([parameter, value]) => [parameter.attributes.name, value]);
  await runsWithoutFallback({ updates: Object.fromEntries(updates) }, "webgpu");
  await model.release();
  return "every operator of the training step runs on the GPU";
};

const interruptCheck: Check = async (_, gpu) => {
  const key = Symbol.for("anneal.notebook");
  const controller = new AbortController();
  const model = toyModel({ engine: gpu });
  const outputDir = await mkdtemp(join(tmpdir(), "anneal-gpu-"));
  const notebook = {
    display: () => undefined,
    interruptSignal: () => controller.signal,
    cells: [],
    sessionId: "check",
  };
  Object.assign(globalThis, { [key]: notebook });
  try {
    const options = {
      ...toyOptions(),
      outputDir,
      onStep: ({ step }: { step: number }) => step === 3 && controller.abort(),
    };
    const message = await train(model, { ...options, onStep: (event) => void options.onStep(event) }).then(
      () => "it went on to the end",
      (error: Error) => error.message,
    );
    assert(message.startsWith("Stopped after step 3 of 30"), message);
    const { "model.norm.weight": norm } = await model.stateDict();
    assert(
      norm.data.every(Number.isFinite) && norm.data.some((value) => value !== 1),
      "the weights are not those of step 3",
    );
    return "stopped after step 3, with the weights of that step";
  } finally {
    Reflect.deleteProperty(globalThis, key);
    await model.release();
    await rm(outputDir, { recursive: true, force: true });
  }
};

const memoryCheck: Check = async (_, gpu) => {
  const n = 400_000;
  const program = await gpu.compile({
    name: "an outer sum",
    outputs: {
      y: T.input("x", [n, 1])
        .add(T.zeros([1, n]))
        .exp()
        .sum(),
    },
  });
  const error = await program.run({ x: new Float32Array(n) }).catch((reason: unknown) => reason);
  assert(error instanceof EngineError && error.message.includes("ran out of memory in an outer sum"), String(error));
  await program.release();
  const sum = await gpu.compile({ outputs: { y: T.input("x", [3]).sum() } });
  assert((await sum.run({ x: Float32Array.of(1, 2, 3) })).y[0] === 6, "it computes wrongly afterwards");
  return (error as Error).message;
};

/** Operators that only the CPU supports cause an error before anything changes. */
const bytesCheck: Check = async (_, gpu) => {
  const model = toyModel({ engine: gpu });
  const message = (work: Promise<unknown>) =>
    work.then(
      () => "nothing",
      (error: Error) => error.message,
    );
  const quantized = await message(model.quantize("int8"));
  assert(quantized.includes('runs on device "cpu" only'), `quantize said ${quantized}`);
  const trained = await message(train(model, { ...toyOptions(), precision: "int8" }));
  assert(trained.includes('precision "int8" needs device "cpu"'), `train said ${trained}`);
  await model.release();
  return quantized;
};

/** Variables that cannot be updated in place alternate with a second buffer. */
const variablesCheck: Check = async (_, gpu) => {
  const state = gpu.createState();
  const [a, b] = [T.variable("a", [2, 2]), T.variable("b", [2, 2])];
  const program = await gpu.compile({
    outputs: { trace: a.sum() },
    updates: { a: b.matmul(b), b: a.mul(2), c: a.add(1) },
  });
  const value = (...data: number[]) => ({ dtype: "float32" as const, shape: [2, 2], data: Float32Array.from(data) });
  await state.write({ a: value(1, 2, 3, 4), b: value(1, 1, 0, 1) });
  for (let i = 0; i < 3; i++) await program.run({}, state);
  const found = await state.read();
  const expected = { a: [4, 16, 0, 4], b: [56, 80, 120, 176], c: [29, 41, 61, 89] };
  for (const [name, data] of Object.entries(expected)) {
    assert(String(found[name].data) === String(data), `${name} is ${found[name].data}, not ${data}`);
  }
  await state.remove(["c"]);
  assert(!("c" in (await state.read())), "a removed variable is still there");
  await state.release();
  return "updated, swapped, created and removed";
};

const checks: Record<string, Check> = {
  ...Object.fromEntries(Object.keys(operatorCases).map((name) => [`operator: ${name}`, operatorCheck(name)])),
  variables: variablesCheck,
  placement: placementCheck,
  "full training": trainingCheck("full"),
  "LoRA training": trainingCheck("lora"),
  interrupt: interruptCheck,
  bytes: bytesCheck,
  "out of memory": memoryCheck,
};

/** The checks, in order. */
export const checkNames = Object.keys(checks);

/** Runs all checks. `steps` is the number of training steps. */
export async function runChecks(gpu: Engine, report: (result: CheckResult) => void, steps = 30): Promise<boolean> {
  const cpu = await Engine.open({ device: "cpu" });
  let good = true;
  for (const [check, work] of Object.entries(checks)) {
    const result = await work(cpu, gpu, steps).then(
      (detail) => ({ check, ok: true, detail }),
      (error: Error) => ({ check, ok: false, detail: error.message }),
    );
    good &&= result.ok;
    report(result);
  }
  await cpu.close();
  return good;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const gpu = await Engine.open({ device: "webgpu" }).catch((error: Error) => {
    process.stderr.write(`${error.message}\n`);
    process.exit(3);
  });
  process.stderr.write(`${describeDevice(gpu.device)}\n`);
  const good = await runChecks(
    gpu,
    (result) => process.stdout.write(`${JSON.stringify(result)}\n`),
    Number(process.argv[2] ?? 30),
  );
  await gpu.close();
  process.exitCode = good ? 0 : 1;
}
