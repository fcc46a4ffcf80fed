import { formatCount, notebook } from "../display/index.ts";
import type { Parameter, ProgramRun } from "../tensor/index.ts";
import { activeRun, type Run, type RunStatus, startRun } from "../track/index.ts";
import { snakeCase } from "./log.ts";
import { TrainingMonitor } from "./monitor.ts";
import type { Optimizer } from "./optimizers/optimizer.ts";
import { TrainingError } from "./options.ts";

/** A training loop that a user wrote: what is logged of it, as long as its cell runs. */
interface Loop {
  readonly run: Run;
  readonly monitor: TrainingMonitor;
  readonly optimizer: Optimizer;
  readonly owned: boolean;
  /** Steps of the run so far. */
  readonly count: { loops: number; steps: number };
  /** When the last one was done. */
  last: number;
}

let loop: Loop | undefined;

/** Loops and steps that a run has seen: a second loop in one run goes on counting. */
const history = new WeakMap<Run, { loops: number; steps: number }>();

/**
 * Stop between two steps when the user has interrupted the cell.
 * @throws TrainingError then
 */
export function checkInterrupt(steps: number): void {
  if (!notebook()?.interruptSignal().aborted) return;
  throw new TrainingError(`Stopped after step ${steps}. The model holds the weights of that step.`);
}

/**
 * Log a step to the active run. With none, one is started that ends with the cell (or with the process), so that a loop
 * of one's own is recorded as a training by `train` is.
 */
export function logStep(
  optimizer: Optimizer,
  parameters: readonly Parameter[],
  learningRate: number,
  programRun: ProgramRun,
): void {
  const { outputs, observed } = programRun;
  const [loss, gradNorm] = [observed.loss.data[0], observed.gradNorm.data[0]];
  if (loop && (loop.optimizer !== optimizer || (!loop.owned && activeRun() !== loop.run))) void close(loop, "FINISHED");
  loop ??= open(optimizer, parameters, programRun);
  const now = performance.now();
  const seconds = (now - loop.last) / 1000;
  loop.last = now;
  const step = ++loop.count.steps;
  const scalars = Object.entries(outputs).filter(([, { data }]) => data.length === 1);
  loop.run.logMetrics(
    {
      ...Object.fromEntries(scalars.map(([name, { data }]) => [`train/${name}`, data[0]])),
      "train/loss": loss,
      "train/learning_rate": learningRate,
      "train/grad_norm": gradNorm,
      "system/steps_per_second": 1 / seconds,
    },
    step,
  );
  loop.monitor.step({ step, loss, rate: `${steady(1 / seconds)} steps/s` });
  if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
    throw new TrainingError(
      `The loss became ${loss} (gradient norm ${gradNorm}) at step ${step}. Lower the learning rate (now ${learningRate}), or set the optimizer's maxGradNorm.`,
    );
  }
}

/** `0.52`, `8.1` or `1250`. */
const steady = (rate: number) => (rate < 10 ? rate.toPrecision(2) : formatCount(rate));

function open(optimizer: Optimizer, parameters: readonly Parameter[], { name, device }: ProgramRun): Loop {
  const current = activeRun();
  const run = current ?? startRun(name === undefined ? {} : { name });
  const count = history.get(run) ?? { loops: 0, steps: 0 };
  history.set(run, count);
  count.loops++;
  const settings = {
    optimizer: optimizer.name,
    learningRate: optimizer.rateAt(0),
    ...optimizer.settings,
    ...(Number.isFinite(optimizer.maxGradNorm) ? { maxGradNorm: optimizer.maxGradNorm } : {}),
    parameters: Object.fromEntries(parameters.map(({ title, shape }) => [title, shape])),
  };
  // A parameter of a run is written once.
  const prefix = count.loops > 1 ? `loop_${count.loops}.` : "";
  run.logParams(
    Object.fromEntries(Object.entries(settings).map(([key, value]) => [`${prefix}${snakeCase(key)}`, value])),
  );
  const trainable = parameters.reduce((sum, { size }) => sum + size, 0);
  run.setTags({ ...device, "anneal.trainable_parameters": String(trainable) });
  const opened = {
    run,
    monitor: new TrainingMonitor(run.name),
    optimizer,
    owned: !current,
    count,
    last: performance.now(),
  };
  const book = notebook();
  if (book) book.onCellEnd((failed) => close(opened, failed ? "FAILED" : "FINISHED"));
  else process.once("beforeExit", () => close(opened, "FINISHED"));
  return opened;
}

async function close(ended: Loop, status: RunStatus): Promise<void> {
  if (loop !== ended) return;
  loop = undefined;
  const stopped = notebook()?.interruptSignal().aborted ?? false;
  ended.monitor.finish(stopped ? "interrupted" : status === "FAILED" ? "failed" : "done");
  if (ended.owned) await ended.run.end(stopped ? "KILLED" : status);
}
