import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatCount, notebook } from "../display/index.ts";
import { encodeSafetensors } from "../models/index.ts";
import { type HostValue, type Parameter, type ProgramRun, Tensor } from "../tensor/index.ts";
import { activeRun, type Run, startRun } from "../track/index.ts";
import { TrainingError } from "./error.ts";
import { TrainingMonitor } from "./monitor.ts";
import { snakeCase } from "./names.ts";
import { Optimizer, type OptimizerStep } from "./optimizers/optimizer.ts";

/** A user-written training loop in a run: all steps of one optimizer. */
interface Loop {
  readonly run: Run;
  readonly parameters: readonly Parameter[];
  /** Prefix of its metrics and settings, which distinguishes a run's second loop from the first. */
  readonly metrics: string;
  /** Folder of its weights in the run's artifacts. */
  readonly folder: string;
  readonly title: string;
  steps: number;
}

/** One cell's training, or that of the whole process outside a notebook. */
interface Cell {
  /** The run that was started because none was active; it ends with the cell. */
  run?: Run;
  readonly loops: Map<Loop, { monitor: TrainingMonitor; last: number }>;
}

const loops = new WeakMap<Run, Map<Optimizer, Loop>>();
let cell: Cell | undefined;

// Optimizers without a listener log to the active run.
Optimizer.listener = { before: checkInterrupt, after: logStep };

/**
 * Stops between two steps when the user has interrupted the cell.
 * @throws TrainingError when interrupted
 */
function checkInterrupt({ steps }: Optimizer): void {
  if (!notebook()?.interruptSignal().aborted) return;
  throw new TrainingError(`Stopped after step ${steps}. The model holds the weights of that step.`);
}

/**
 * Logs a step to the active run. If there is none, starts one that ends with the cell (or with the process), so that
 * user-written loops are recorded like calls of `train`.
 */
function logStep({ optimizer, parameters, learningRate, run: programRun }: OptimizerStep): void {
  const { outputs, observed, name } = programRun;
  const [loss, gradNorm] = [observed.loss.data[0], observed.gradNorm.data[0]];
  cell ??= beginCell();
  const run = activeRun() ?? openRun(cell, name);
  const loop = loops.get(run)?.get(optimizer) ?? beginLoop(run, optimizer, parameters, programRun);
  const progress = cell.loops.get(loop) ?? { monitor: new TrainingMonitor(loop.title), last: performance.now() };
  cell.loops.set(loop, progress);
  const seconds = (performance.now() - progress.last) / 1000;
  progress.last = performance.now();
  loop.steps++;
  const scalars = Object.entries(outputs).filter(([, { data }]) => data.length === 1);
  const measured = {
    ...Object.fromEntries(scalars.map(([key, { data }]) => [key, data[0]])),
    loss,
    learning_rate: learningRate,
    grad_norm: gradNorm,
  };
  run.logMetrics(
    {
      ...Object.fromEntries(Object.entries(measured).map(([key, value]) => [`${loop.metrics}${key}`, value])),
      "system/steps_per_second": 1 / seconds,
    },
    loop.steps,
  );
  progress.monitor.step({ step: loop.steps, loss, rate: `${formatRate(1 / seconds)} steps/s` });
  if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
    throw new TrainingError(
      `The loss became ${loss} (gradient norm ${gradNorm}) at step ${loop.steps}; the weights are those before it. Lower the learning rate (now ${learningRate}), or set the optimizer's maxGradNorm.`,
    );
  }
}

/** Formats a rate as `0.52`, `8.1` or `1250`. */
const formatRate = (rate: number) => (rate < 10 ? rate.toPrecision(2) : formatCount(rate));

function beginCell(): Cell {
  const started: Cell = { loops: new Map() };
  const book = notebook();
  if (book) book.onCellEnd((failed) => endCell(started, failed));
  else process.once("beforeExit", () => endCell(started, false));
  return started;
}

function openRun(started: Cell, name: string | undefined): Run {
  started.run = startRun(name === undefined ? {} : { name });
  return started.run;
}

function beginLoop(
  run: Run,
  optimizer: Optimizer,
  parameters: readonly Parameter[],
  { name, device }: ProgramRun,
): Loop {
  const runLoops = loops.get(run) ?? new Map<Optimizer, Loop>();
  loops.set(run, runLoops);
  const number = runLoops.size + 1;
  const loopName = number === 1 ? undefined : (name ?? `loop ${number}`);
  const loop: Loop = {
    run,
    parameters,
    metrics: loopName === undefined ? "train/" : `train/${loopName}/`,
    folder: loopName === undefined ? "model" : `model/${loopName.replaceAll("/", "-")}`,
    title: loopName ?? run.name,
    steps: 0,
  };
  runLoops.set(optimizer, loop);
  const settings = {
    optimizer: optimizer.name,
    learningRate: optimizer.rateAt(0),
    ...optimizer.settings,
    ...(Number.isFinite(optimizer.maxGradNorm) ? { maxGradNorm: optimizer.maxGradNorm } : {}),
    parameters: Object.fromEntries(parameters.map(({ title, shape }) => [title, shape])),
  };
  // A run's parameters can be written only once.
  const prefix = loopName === undefined ? "" : `${loopName}.`;
  run.logParams(
    Object.fromEntries(Object.entries(settings).map(([key, value]) => [`${prefix}${snakeCase(key)}`, value])),
  );
  const trained = [...runLoops.values()].flatMap((one) => one.parameters);
  const trainable = [...new Set(trained)].reduce((sum, { size }) => sum + size, 0);
  run.setTags({ ...device, "anneal.trainable_parameters": String(trainable) });
  return loop;
}

async function endCell(ended: Cell, failed: boolean): Promise<void> {
  if (cell !== ended) return;
  cell = undefined;
  const stopped = notebook()?.interruptSignal().aborted ?? false;
  for (const [loop, { monitor }] of ended.loops) {
    if (activeRun() === loop.run) {
      await logWeights(loop).catch((error: Error) => {
        process.stderr.write(`Could not log the weights of ${loop.title}: ${error.message}\n`);
      });
    }
    monitor.finish(stopped ? "interrupted" : failed ? "failed" : "done");
  }
  if (ended.run && activeRun() === ended.run) await ended.run.end(stopped ? "KILLED" : failed ? "FAILED" : "FINISHED");
}

/** Maximum size of a loop's weights to log automatically, in bytes. */
const weightLimit = 512 * 1024 ** 2;

/** Logs a loop's final weights. `model.loadStateDict(await readSafetensors(file))` loads them. */
async function logWeights({ run, parameters, folder: path }: Loop): Promise<void> {
  if (parameters.reduce((sum, { size }) => sum + 4 * size, 0) > weightLimit) return;
  const values = await Tensor.data(parameters);
  const named = parameters.map(({ title, dtype, shape }, i): [string, HostValue] => {
    return [title, { dtype, shape, data: values[i] }];
  });
  const folder = await mkdtemp(join(tmpdir(), "anneal-weights-"));
  try {
    await writeFile(join(folder, "weights.safetensors"), encodeSafetensors(Object.fromEntries(named)));
    run.logArtifact(folder, path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
