import { randomUUID } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { basename, join, resolve } from "node:path";
import type { Run } from "../src/track/api/types.ts";
import type { TrackerClient } from "../src/track/client.ts";
import { TrackerError } from "../src/track/error.ts";
import { UsageError } from "./errors.ts";
import { type ExecutionListener, executeNotebook, parseNotebook, requireSupportedLanguage } from "./execute.ts";
import { folderOf, runsOf, tagOf, withTracker } from "./run.ts";

interface Point {
  step: number;
  value: number;
}

/** Comparison of one metric of the recorded and the new run. */
export interface MetricComparison {
  key: string;
  /** Number of points of the recorded run, and of the new one. */
  points: [number, number];
  /** Number of points that are not bitwise equal. */
  different: number;
  /** The first point that differs. */
  first?: { step: number; recorded: number; rerun: number };
  /** Largest difference, relative to the recorded value. */
  largest: number;
}

/** A difference in the environment. */
export interface EnvironmentDifference {
  what: string;
  recorded: string;
  now: string;
}

/** The report of {@link rerun}. */
export interface RerunReport {
  runId: string;
  rerunId: string | undefined;
  metrics: MetricComparison[];
  environment: EnvironmentDifference[];
  /** Whether every metric has bitwise equal points. */
  same: boolean;
  /** The error that stopped the notebook, if any. */
  error?: string;
}

/** Metrics of time and load, which differ between any two executions. */
const isMeasurement = (key: string) => key.startsWith("system/");

/**
 * Repeats a recorded run in a fresh kernel, from its recorded cells, settings and data, and compares every metric bitwise.
 * Nothing is registered.
 * @throws UsageError when the run does not exist, or recorded no notebook
 */
export async function rerun(
  runId: string,
  options: { dataDir: string; listener?: ExecutionListener; signal?: AbortSignal },
): Promise<RerunReport> {
  const dataDir = resolve(options.dataDir);
  return withTracker(dataDir, async (client) => {
    const recorded = await findRun(client, runId);
    const text = await client.downloadArtifact(runId, "notebook.ipynb").catch((error) => {
      if (!(error instanceof TrackerError) || error.temporary) throw error;
      throw new UsageError(
        `Run ${runId} recorded no notebook: it was started by a script. Run the script again instead.`,
      );
    });
    const name = `The notebook of run ${runId}`;
    const notebook = parseNotebook(new TextDecoder().decode(text), name);
    requireSupportedLanguage(notebook, name);
    const source = tagOf(recorded, "mlflow.source.name") ?? "notebook.ipynb";
    const cwd = folderOf(recorded) ?? process.cwd();
    const executionId = randomUUID();
    const execution = await executeNotebook(notebook, join(cwd, basename(source)), {
      cwd,
      env: { ANNEAL_DATA: dataDir, ANNEAL_EXECUTION_ID: executionId, ANNEAL_RERUN_OF: runId },
      ...(options.listener ? { listener: options.listener } : {}),
      ...(options.signal ? { signal: options.signal } : {}),
    });
    const runs = await runsOf(client, executionId);
    const index = tagOf(recorded, "anneal.run_index");
    const repeated = runs.find((run) => tagOf(run, "anneal.run_index") === index);
    const metrics = repeated ? await compareMetrics(client, recorded, repeated) : [];
    const complete = repeated !== undefined && execution.error === undefined;
    const report: RerunReport = {
      runId,
      rerunId: repeated?.info.run_id,
      metrics,
      environment: repeated ? compareEnvironments(recorded, repeated) : [],
      same: complete && metrics.length > 0 && metrics.every(({ different }) => different === 0),
      ...(execution.error
        ? { error: `cell ${execution.error.cell}: ${execution.error.name}: ${execution.error.value}` }
        : {}),
    };
    await saveReport(dataDir, report);
    return report;
  });
}

async function findRun(client: TrackerClient, runId: string): Promise<Run> {
  try {
    return await client.runs.get(runId);
  } catch (error) {
    if (error instanceof TrackerError && error.code === "RESOURCE_DOES_NOT_EXIST") {
      throw new UsageError(
        `There is no run ${runId} in this data folder. A run's id is shown on its page in the tracker.`,
      );
    }
    throw error;
  }
}

async function compareMetrics(client: TrackerClient, recorded: Run, repeated: Run): Promise<MetricComparison[]> {
  const keys = new Set([recorded, repeated].flatMap(({ data }) => (data.metrics ?? []).map(({ key }) => key)));
  const result: MetricComparison[] = [];
  for (const key of [...keys].filter((name) => !isMeasurement(name)).sort()) {
    const points = ({ info }: Run) => history(client, info.run_id, key);
    result.push(comparePoints(key, await points(recorded), await points(repeated)));
  }
  return result;
}

/** Compares two histories point by point, in order of step and time. */
export function comparePoints(key: string, recorded: readonly Point[], rerun: readonly Point[]): MetricComparison {
  const result: MetricComparison = { key, points: [recorded.length, rerun.length], different: 0, largest: 0 };
  for (let i = 0; i < Math.max(recorded.length, rerun.length); i++) {
    const [a, b] = [recorded[i], rerun[i]];
    if (a && b && a.step === b.step && Object.is(a.value, b.value)) continue;
    result.different++;
    if (!a || !b) continue;
    result.first ??= { step: a.step, recorded: a.value, rerun: b.value };
    result.largest = Math.max(result.largest, Math.abs(b.value - a.value) / Math.max(Math.abs(a.value), 1e-12));
  }
  return result;
}

async function history(client: TrackerClient, runId: string, key: string): Promise<Point[]> {
  const points: (Point & { timestamp: number })[] = [];
  for await (const { step, value, timestamp } of client.runs.history(runId, key)) {
    points.push({ step: Number(step), value: Number(value), timestamp: Number(timestamp) });
  }
  points.sort((a, b) => a.step - b.step || a.timestamp - b.timestamp);
  // Steps that ran twice, because training was killed and resumed, have the same value twice.
  return points.filter(({ step, value }, i) => {
    const before = points[i - 1];
    return before?.step !== step || !Object.is(before.value, value);
  });
}

function compareEnvironments(recorded: Run, repeated: Run): EnvironmentDifference[] {
  const aspects: Record<string, string> = {
    "anneal.node": "Node.js",
    "anneal.platform": "platform",
    "anneal.cpu": "processor",
    "anneal.device": "device",
    "anneal.threads": "threads",
    "anneal.versions": "packages",
    "mlflow.source.git.commit": "git commit",
    "anneal.git.dirty": "uncommitted changes",
  };
  return Object.entries(aspects).flatMap(([tag, what]) => {
    const [a, b] = [tagOf(recorded, tag) ?? "not recorded", tagOf(repeated, tag) ?? "not recorded"];
    return a === b ? [] : [{ what, recorded: a, now: b }];
  });
}

async function saveReport(dataDir: string, report: RerunReport): Promise<void> {
  const folder = join(dataDir, "reruns");
  await mkdir(folder, { recursive: true });
  await writeFile(
    join(folder, `${report.runId}-${Date.now()}.json`),
    JSON.stringify({ ...report, cpu: cpus()[0]?.model }, null, 1),
  );
}

/** Formats the report for a terminal. */
export function showReport({ runId, rerunId, metrics, environment, same, error }: RerunReport): string {
  const lines: string[] = [];
  if (error) lines.push(`The notebook stopped with an error: ${error}`);
  if (rerunId === undefined) lines.push(`It started no run that corresponds to ${runId}.`);
  else if (metrics.length === 0)
    lines.push(`Neither run ${runId} nor its rerun ${rerunId} logged a metric to compare.`);
  const changed = metrics.filter(({ different }) => different > 0);
  if (changed.length > 0) {
    const rows = changed.map(({ key, points: [a, b], different, first, largest }) => [
      key,
      a === b ? `${different} of ${a}` : `${a} recorded, ${b} now`,
      first ? String(first.step) : "",
      first ? String(first.recorded) : "",
      first ? String(first.rerun) : "",
      largest > 0 ? `${(100 * largest).toPrecision(2)} %` : "",
    ]);
    lines.push(...alignColumns([["metric", "differs in", "first at step", "recorded", "rerun", "most"], ...rows]));
  }
  if (environment.length > 0) {
    lines.push("", "Differences in the environment:");
    lines.push(...alignColumns(environment.map(({ what, recorded, now }) => [`  ${what}`, recorded, "→", now])));
  }
  const points = metrics.reduce((sum, { points: [a] }) => sum + a, 0);
  lines.push(
    same
      ? `Same: ${points} points of ${metrics.length} metrics, all bitwise equal (run ${rerunId}).`
      : changed.length > 0
        ? `Not the same: ${changed.length} of ${metrics.length} metrics differ.`
        : "The comparison is incomplete: see above.",
  );
  return lines.join("\n");
}

function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) =>
    row
      .map((text, i) => text.padEnd(widths[i]))
      .join("  ")
      .trimEnd(),
  );
}
