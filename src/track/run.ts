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
import { SystemMonitor } from "./system.ts";

/** How a run ended, by MLflow's names. */
export type RunStatus = "FINISHED" | "FAILED" | "KILLED";

/** Options of {@link startRun}. */
export interface RunOptions {
  /** Shown in lists. The notebook's or script's name when left out. */
  name?: string;
  /** Runs of one experiment stand together. The notebook's or script's name when left out. */
  experiment?: string;
  tags?: Record<string, string>;
  /** Go on with a run that ended, or whose process died. */
  id?: string;
  /** Only add to it: see {@link addToRun}. */
  amend?: boolean;
}

/** Options of {@link Run.logModel}. */
export interface ModelOptions {
  /** What kind of model, as MLflow calls the framework. `anneal` when left out. */
  modelType?: string;
  params?: Record<string, string>;
  tags?: Record<string, string>;
}

/** Runs started by this process so far. */
let count = 0;

const sampleInterval = 5000;
/** How long ending a run waits for the tracker to take the rest. */
const endPatience = 15_000;

let active: Run | undefined;

/** The step that runs of this process came to: what is measured after a run's end belongs there. */
const lastSteps = new Map<string, number>();

/** The run that is going on in this process. */
export function activeRun(): Run | undefined {
  return active;
}

/**
 * Start a run and make it the active one. What it is made with (machine, versions, git, notebook, lockfile) is logged
 * by itself. Nothing here waits for a tracker, and nothing is lost when none answers.
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
 * Add to a run that may have ended, such as a metric measured afterwards; its state and times stay as they are.
 * @param add logs what there is to add
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

/** One run: what was tried, with what, and how it went. Everything is journaled at once and sent in the background. */
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
      // The run has the tags of its first start; the notebook that goes on with it is another execution.
      const execution = process.env.ANNEAL_EXECUTION_ID;
      if (execution) this.#journal.append({ kind: "tags", tags: { "anneal.execution_id": execution } });
    }
    // What the run is made with is worth having, and no reason to stop it.
    this.#ready = amend ? Promise.resolve() : this.#capture().catch((error: unknown) => this.#miss(error));
    this.#shipper = amend ? new Shipper(this.id, this.#journal, leftBefore(this.id)) : new RunShipper(this.#journal);
    this.#timer = setInterval(() => void this.#sample(true), sampleInterval);
    this.#timer.unref();
    if (amend) clearInterval(this.#timer);
    else this.#output = new OutputLog(() => this.#journal.filesFolder);
  }

  /** Settings; each is written once. Anything but text is written as JSON. */
  logParams(params: Record<string, unknown>): void {
    const text = (value: unknown) => (typeof value === "string" ? value : (JSON.stringify(value) ?? String(value)));
    const entries = Object.entries(params).filter(([, value]) => value !== undefined);
    this.#append({ kind: "params", params: Object.fromEntries(entries.map(([key, value]) => [key, text(value)])) });
  }

  /**
   * Measured values.
   * @param step which point of the run they belong to; the last one used when left out
   */
  logMetrics(metrics: Record<string, number>, step = this.#step): void {
    this.#checkOpen();
    if (!Number.isSafeInteger(step)) throw new TypeError(`A step is a whole number, not ${step}.`);
    this.#journal.appendMetrics(metrics, Date.now(), step);
    this.#step = step;
    lastSteps.set(this.id, step);
  }

  /** Labels; setting one again replaces it. */
  setTags(tags: Record<string, string>): void {
    this.#append({ kind: "tags", tags });
  }

  /** What data the run works on. */
  logDataset(dataset: DatasetInput): void {
    this.#append({ kind: "dataset", dataset });
  }

  /** A text as an artifact. */
  logText(content: string, path: string): void {
    this.#append({ kind: "artifact", path, file: this.#write(content) });
  }

  /**
   * A file, or a folder with all that is in it, as an artifact. It may be deleted right after.
   * @param path where it goes, with forward slashes; for a folder, the folder's name there
   */
  logArtifact(source: string, path: string): void {
    if (statSync(source).isDirectory()) {
      for (const name of readdirSync(source)) this.logArtifact(join(source, name), `${path}/${name}`);
      return;
    }
    this.#append({ kind: "artifact", path, file: this.#copy(source) });
  }

  /**
   * A trained model, as one of the run's artifacts and as a logged model: a thing of its own that is an output of the
   * run, has its last metrics, and can be registered. Its id at the tracker is the tracker's to give.
   * @param folder with its files; may be deleted right after
   * @param name its folder among the run's artifacts, and its name
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
   * End the run and wait a while for the tracker to take the rest. When it does not answer, the journal stays and is
   * sent later.
   */
  async end(status: RunStatus = "FINISHED"): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    if (active === this) active = undefined;
    clearInterval(this.#timer);
    await this.#ready;
    if (!this.#amend) await this.#sample(false);
    try {
      this.#logNotebook();
    } catch (error) {
      this.#miss(error);
    }
    this.#output?.stop();
    const output = this.#output?.written;
    if (output) this.#journal.append({ kind: "artifact", path: outputName, file: output });
    if (!this.#amend) this.#journal.append({ kind: "status", status, endTime: Date.now() });
    void this.#journal.flush();
    const sent = await this.#shipper.drain(endPatience);
    await this.#shipper.stop();
    await this.#journal.close();
    if (!sent) {
      process.stderr.write(
        `Run ${this.id} is not at the tracker yet (${this.#shipper.problem}). It is kept, and sent when the studio or another run starts.\n`,
      );
    }
  }

  /** Wait until the tracker has all that was logged so far; false when it takes longer than `patience` milliseconds. */
  async flush(patience = endPatience): Promise<boolean> {
    await this.#ready;
    return this.#shipper.drain(patience);
  }

  #append(record: JournalRecord): void {
    this.#checkOpen();
    this.#journal.append(record);
  }

  #checkOpen(): void {
    if (this.#ended) throw new Error(`The run ${this.name} has ended; nothing can be logged to it any more.`);
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
    // Never a hard link: writing to it would write to the user's own file. A clone costs nothing where there are any.
    copyFileSync(source, file, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    return file;
  }

  #miss(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`The surroundings of run ${this.name} are not recorded in full: ${reason}\n`);
  }

  /** One at a time: a tool that takes long must not be asked by many. */
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
    // Past the check that refuses what comes after the end: a short run ends while this is still going on.
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

/** Who runs this. A container may run as a user that the system has no name for. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return process.env.USER ?? "unknown";
  }
}

/**
 * Wait until everything that a run has logged so far is at the tracker.
 * @throws TrackerError when it does not get there
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
  const sent = await shipper.drain(endPatience);
  shipper.stop();
  await journal.close();
  if (!sent) throw late(shipper.problem);
}
