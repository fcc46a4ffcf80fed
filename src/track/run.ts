import { randomUUID } from "node:crypto";
import { constants, copyFileSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { notebook } from "../display/notebook.ts";
import { captureDiff, captureEnvironment, captureNotebook, findLockfile, sourceName } from "./environment.ts";
import { TrackerError } from "./error.ts";
import { Journal } from "./journal.ts";
import { OutputLog, outputName } from "./output.ts";
import type { DatasetInput, JournalRecord } from "./records.ts";
import { RunShipper } from "./run-shipper.ts";
import { leftBefore, recoverJournals, Shipper } from "./shipper.ts";
import { watchSignals } from "./signals.ts";
import { SystemMonitor } from "./system.ts";

/** Final status of a run, named as in MLflow. */
export type RunStatus = "FINISHED" | "FAILED" | "KILLED";

/** Options of {@link startRun}. */
export interface RunOptions {
  /** Display name. Default: the name of the notebook or script. */
  name?: string;
  /** Name of the experiment that groups runs. Default: the name of the notebook or script. */
  experiment?: string;
  tags?: Record<string, string>;
  /** Id of a run to resume, which has ended or whose process has died. */
  id?: string;
  /** Only add to the run: see {@link addToRun}. */
  amend?: boolean;
}

/** Options of {@link Run.logModel}. */
export interface ModelOptions {
  /** Model type in MLflow's sense, such as the framework. Default: `anneal`. */
  modelType?: string;
  params?: Record<string, string>;
  tags?: Record<string, string>;
}

/** Number of runs started by this process. */
let count = 0;

const sampleInterval = 5000;
/** Maximum time to wait for the tracker when a run ends, in milliseconds. */
const endTimeout = 15_000;
/** The same when a signal ends the process: whoever sent it waits. */
const killTimeout = 3000;

let active: Run | undefined;

/** Last step of each run of this process, used for metrics that are logged after its end. */
const lastSteps = new Map<string, number>();

/** Returns the active run of this process. */
export function activeRun(): Run | undefined {
  return active;
}

/**
 * Starts a run and makes it the active one. Logs the environment automatically: machine, versions, git, notebook and
 * lockfile. Does not wait for a tracker, and loses no data when there is none.
 *
 * @example
 * const run = startRun({ name: "by hand" });
 * run.logMetrics({ "train/loss": 2.5 }, 1);
 * await run.end();
 */
export function startRun(options: RunOptions = {}): Run {
  if (active) throw new Error(`The run ${active.name} (${active.id}) is still active; end it first.`);
  void recoverJournals();
  active = new Run(options);
  return active;
}

/**
 * Adds to a run that may have ended, such as a metric measured later; its status and times do not change.
 * @param add logs to the run
 */
export async function addToRun(id: string, add: (run: Run) => void): Promise<void> {
  if (active?.id === id) {
    add(active);
    return;
  }
  const run = new Run({ id, amend: true });
  try {
    add(run);
  } finally {
    await run.end();
  }
}

/** A tracked run. Everything is journaled immediately and sent in the background. */
export class Run {
  readonly id: string;
  readonly name: string;
  readonly experiment: string;
  readonly #journal: Journal;
  readonly #shipper: RunShipper | Shipper;
  readonly #monitor = new SystemMonitor();
  readonly #timer: NodeJS.Timeout;
  readonly #output: OutputLog | undefined;
  #step: number;
  #sampling = false;
  #ended = false;
  readonly #amend: boolean;
  #stopWatch: () => void = () => {};
  #ready: Promise<void>;

  /** Use {@link startRun}. */
  constructor({ name, experiment, tags = {}, id, amend = false }: RunOptions) {
    this.#amend = amend;
    this.name = name ?? sourceName();
    this.experiment = experiment ?? sourceName();
    this.id = id ?? randomUUID().replaceAll("-", "");
    this.#step = lastSteps.get(this.id) ?? 0;
    this.#journal = new Journal(this.id);
    const book = notebook();
    this.#journal.append({
      kind: "create",
      experiment: this.experiment,
      name: this.name,
      startTime: Date.now(),
      ...(amend ? { amend } : {}),
      tags: {
        "mlflow.runName": this.name,
        "mlflow.user": userName(),
        "mlflow.source.name": book?.path ?? process.argv[1] ?? "",
        "mlflow.source.type": book ? "NOTEBOOK" : "LOCAL",
        ...(book ? { "anneal.session_id": book.sessionId } : {}),
        ...(process.env.ANNEAL_EXECUTION_ID ? { "anneal.execution_id": process.env.ANNEAL_EXECUTION_ID } : {}),
        ...(amend ? {} : { "anneal.run_index": String(count++) }),
        ...tags,
      },
    });
    if (id && !amend) {
      this.#journal.append({ kind: "status", status: "RUNNING" });
      // The run keeps the tags of its first start, but the notebook that resumes it is another execution.
      const execution = process.env.ANNEAL_EXECUTION_ID;
      if (execution) this.#journal.append({ kind: "tags", tags: { "anneal.execution_id": execution } });
    }
    // Missing environment data is no reason to stop the run.
    this.#ready = amend ? Promise.resolve() : this.#capture().catch((error: unknown) => this.#warnIncomplete(error));
    this.#shipper = amend ? new Shipper(this.id, this.#journal, leftBefore(this.id)) : new RunShipper(this.#journal);
    this.#timer = setInterval(() => void this.#sample(true), sampleInterval);
    this.#timer.unref();
    if (amend) clearInterval(this.#timer);
    else {
      this.#output = new OutputLog(() => this.#journal.filesFolder);
      const recordKill = (): void => this.#journal.append({ kind: "status", status: "KILLED", endTime: Date.now() });
      const kill = async (): Promise<void> => {
        // Recorded first, because the training goes on meanwhile and may fail.
        recordKill();
        void this.#journal.flush();
        await this.#shipper.drain(killTimeout);
      };
      // In a notebook, SIGINT interrupts a cell and leaves the process alone.
      const signals = book ? (["SIGTERM", "SIGHUP"] as const) : (["SIGINT", "SIGTERM", "SIGHUP"] as const);
      this.#stopWatch = watchSignals({ kill, recordKill }, signals);
    }
  }

  /** Logs parameters; each can be logged only once. Values other than strings are logged as JSON. */
  logParams(params: Record<string, unknown>): void {
    const text = (value: unknown) => (typeof value === "string" ? value : (JSON.stringify(value) ?? String(value)));
    const entries = Object.entries(params).filter(([, value]) => value !== undefined);
    this.#append({ kind: "params", params: Object.fromEntries(entries.map(([key, value]) => [key, text(value)])) });
  }

  /**
   * Logs metrics.
   * @param step step of the metrics; default: the last step
   */
  logMetrics(metrics: Record<string, number>, step = this.#step): void {
    this.#checkOpen();
    if (!Number.isSafeInteger(step)) throw new TypeError(`step must be an integer, not ${step}.`);
    this.#journal.appendMetrics(metrics, Date.now(), step);
    this.#step = step;
    lastSteps.set(this.id, step);
  }

  /**
   * Goes back to a step: takes back all metrics that were logged after it, for example because a checkpoint of that step is
   * loaded again. The tracker keeps them in the run's history. Works offline; the tracker follows when it is available.
   * @param step the last step that stays
   */
  rewind(step: number): void {
    if (!Number.isSafeInteger(step)) throw new TypeError(`step must be an integer, not ${step}.`);
    this.#append({ kind: "rewind", id: randomUUID(), step, time: Date.now() });
    this.#step = step;
    lastSteps.set(this.id, step);
  }

  /** Sets tags; existing ones are replaced. */
  setTags(tags: Record<string, string>): void {
    this.#append({ kind: "tags", tags });
  }

  /** Logs a data set that the run uses. */
  logDataset(dataset: DatasetInput): void {
    this.#append({ kind: "dataset", dataset });
  }

  /** Logs a text as an artifact. */
  logText(content: string, path: string): void {
    this.#append({ kind: "artifact", path, file: this.#write(content) });
  }

  /**
   * Logs a file, or a folder with its contents, as an artifact. The source may be deleted afterwards.
   * @param path destination, with forward slashes; for a folder, the folder's destination
   */
  logArtifact(source: string, path: string): void {
    if (statSync(source).isDirectory()) {
      for (const name of readdirSync(source)) this.logArtifact(join(source, name), `${path}/${name}`);
      return;
    }
    this.#append({ kind: "artifact", path, file: this.#copy(source) });
  }

  /**
   * Logs a trained model: as an artifact of the run, and as a logged model, which is an output of the run, has its last
   * metrics, and can be registered. The tracker assigns the model's id.
   * @param folder folder with the model's files; may be deleted afterwards
   * @param name name of the model, and of its folder in the artifacts
   */
  logModel(folder: string, name: string, { modelType = "anneal", params = {}, tags = {} }: ModelOptions = {}): void {
    const model = randomUUID();
    this.#append({ kind: "model", model, name, modelType, step: this.#step, params, tags });
    for (const path of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
      const file = join(folder, path);
      if (statSync(file).isDirectory()) continue;
      const within = path.replaceAll("\\", "/");
      const entry = { path: `${name}/${within}`, file: this.#copy(file), model: { id: model, path: within } };
      this.#append({ kind: "artifact", ...entry });
    }
    this.#append({ kind: "model-ready", model });
  }

  /**
   * Ends the run, and waits for the tracker to receive everything, up to a limit. If the tracker does not respond, the
   * journal is sent later.
   */
  async end(status: RunStatus = "FINISHED"): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#stopWatch();
    if (active === this) active = undefined;
    clearInterval(this.#timer);
    await this.#ready;
    if (!this.#amend) await this.#sample(false);
    try {
      this.#logNotebook();
    } catch (error) {
      this.#warnIncomplete(error);
    }
    this.#output?.stop();
    const output = this.#output?.written;
    if (output) this.#journal.append({ kind: "artifact", path: outputName, file: output });
    if (!this.#amend) this.#journal.append({ kind: "status", status, endTime: Date.now() });
    void this.#journal.flush();
    const sent = await this.#shipper.drain(endTimeout);
    await this.#shipper.stop();
    await this.#journal.close();
    if (!sent) {
      process.stderr.write(
        `Run ${this.id} is not at the tracker yet (${this.#shipper.problem}). Its journal stays on disk and is uploaded when the studio or another run starts.\n`,
      );
    }
  }

  /** Waits until the tracker has everything logged so far; false when that takes longer than `patience` milliseconds. */
  async flush(patience = endTimeout): Promise<boolean> {
    await this.#ready;
    return this.#shipper.drain(patience);
  }

  #append(record: JournalRecord): void {
    this.#checkOpen();
    this.#journal.append(record);
  }

  #checkOpen(): void {
    if (this.#ended) throw new Error(`The run ${this.name} has ended; nothing more can be logged to it.`);
  }

  #reserveFile(): string {
    const file = join(this.#journal.filesFolder, randomUUID());
    mkdirSync(dirname(file), { recursive: true });
    return file;
  }

  #write(content: string): string {
    const file = this.#reserveFile();
    writeFileSync(file, content, { flag: "wx" });
    return file;
  }

  #copy(source: string): string {
    const file = this.#reserveFile();
    // Not a hard link, because writing to it would change the user's file. Cloned where the file system supports it.
    copyFileSync(source, file, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    return file;
  }

  #warnIncomplete(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`The environment of run ${this.name} could not be recorded completely: ${reason}\n`);
  }

  /** One sample at a time, because a tool may be slow. */
  async #sample(cards: boolean): Promise<void> {
    if (this.#sampling && cards) return;
    this.#sampling = true;
    const step = this.#step;
    const figures = await this.#monitor.sample({ cards });
    this.#sampling = false;
    this.#journal.appendMetrics(figures, Date.now(), step);
  }

  async #capture(): Promise<void> {
    const environment = await captureEnvironment();
    const { git } = environment;
    this.#journal.append({
      kind: "tags",
      tags: {
        "anneal.node": environment.node,
        "anneal.cpu": environment.cpu,
        "anneal.platform": environment.platform,
        "anneal.versions": JSON.stringify(environment.versions),
        ...(git ? { "mlflow.source.git.commit": git.commit, "anneal.git.dirty": String(git.dirty) } : {}),
      },
    });
    // Does not check for the end of the run: a short run may end before this is done.
    const file = this.#write(JSON.stringify(environment, null, 2));
    this.#journal.append({ kind: "artifact", path: "environment.json", file });
    const diff = await captureDiff();
    if (diff) this.#journal.append({ kind: "artifact", path: "uncommitted.diff", file: this.#write(diff) });
    const lockfile = findLockfile();
    if (lockfile) this.#journal.append({ kind: "artifact", path: "package-lock.json", file: this.#copy(lockfile) });
    this.#logNotebook();
  }

  #logNotebook(): void {
    const content = captureNotebook();
    if (content === undefined) return;
    this.#journal.append({ kind: "artifact", path: "notebook.ipynb", file: this.#write(content) });
    this.#journal.append({ kind: "tags", tags: { "anneal.notebook_cells": String(notebook()?.cells.length ?? 0) } });
  }
}

/** Returns the user's name. A container may run as a user without one. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return process.env.USER ?? "unknown";
  }
}

/**
 * Waits until the tracker has everything that a run has logged so far.
 * @throws TrackerError when that takes too long, or the tracker does not respond
 */
export async function waitForRun(id: string): Promise<void> {
  const late = (problem: string) =>
    new TrackerError(`Run ${id} is not at the tracker yet: ${problem}`, "UNREACHABLE", true);
  if (active?.id === id) {
    if (!(await active.flush())) throw late("it takes longer than usual.");
    return;
  }
  if (!Journal.exists(id)) return;
  const journal = new Journal(id);
  const shipper = new Shipper(id, journal, leftBefore(id));
  const sent = await shipper.drain(endTimeout);
  shipper.stop();
  await journal.close();
  if (!sent) throw late(shipper.problem);
}
