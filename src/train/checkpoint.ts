import { existsSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { readSafetensors, saveFolder, verifyFolder } from "../models/index.ts";
import type { HostValue } from "../tensor/index.ts";
import { TrainingError } from "./error.ts";
import type { ResolvedOptions } from "./options.ts";

/** The state, besides tensors, that resuming a training run needs. */
export interface TrainerState {
  /** Optimizer steps done. */
  step: number;
  options: ResolvedOptions;
  /** Digest of the training data. */
  dataDigest: string;
  runId: string;
  /** Tokens with a loss that were trained on so far. */
  tokens: number;
  /** Seconds spent so far. */
  seconds: number;
  /** Training loss of the last step. */
  loss: number;
  /** Metrics of the evaluation at this step, if there was one. */
  metrics: Record<string, number> | null;
  /** The best value of metricForBestModel so far, and its step. */
  best: { step: number; value: number } | null;
  /** The trained adapter's configuration in PEFT's form, if any. */
  adapter: Record<string, unknown> | null;
}

/** A checkpoint that was loaded. */
export interface Checkpoint {
  folder: string;
  state: TrainerState;
  weights: Record<string, HostValue>;
  moments: Record<string, HostValue>;
}

const names = { weights: "weights.safetensors", moments: "optimizer.safetensors", state: "trainer_state.json" };

const prefix = "step-";

/** Returns the folder of a step's checkpoint. */
export function checkpointFolder(outputDir: string, step: number): string {
  return join(outputDir, `${prefix}${String(step).padStart(6, "0")}`);
}

/** Saves a checkpoint atomically. */
export async function saveCheckpoint(
  outputDir: string,
  state: TrainerState,
  weights: Readonly<Record<string, HostValue>>,
  moments: Readonly<Record<string, HostValue>>,
): Promise<string> {
  const folder = checkpointFolder(outputDir, state.step);
  const write: Parameters<typeof saveFolder>[1] = async (writer) => {
    await writer.tensors(names.weights, sources(weights));
    await writer.tensors(names.moments, sources(moments));
    await writer.file(names.state, JSON.stringify(state, null, 1));
  };
  // Replaces a damaged checkpoint of this step.
  await saveFolder(folder, write, { overwrite: true });
  return folder;
}

const sources = (values: Readonly<Record<string, HostValue>>) =>
  Object.entries(values).map(([name, { shape, data }]) => {
    return { name, dtype: "float32" as const, shape, read: () => data as Float32Array<ArrayBuffer> };
  });

/**
 * Deletes this training's checkpoints, except the newest `limit` and the best.
 * @param savedSteps steps that this training saved, oldest first
 * @returns the steps that are left
 */
export async function pruneCheckpoints(
  outputDir: string,
  savedSteps: readonly number[],
  limit: number,
  best: number | undefined,
): Promise<number[]> {
  const retained = savedSteps.filter((step, i) => i >= savedSteps.length - limit || step === best);
  for (const step of savedSteps) {
    if (!retained.includes(step)) await rm(checkpointFolder(outputDir, step), { recursive: true, force: true });
  }
  return retained;
}

/**
 * Loads the newest valid checkpoint. Damaged ones are skipped with a warning.
 * @returns undefined when there are no checkpoints
 * @throws TrainingError when all checkpoints are damaged
 */
export async function newestCheckpoint(outputDir: string): Promise<Checkpoint | undefined> {
  const folders = (await checkpointFolders(outputDir)).reverse();
  const problems: string[] = [];
  for (const folder of folders) {
    try {
      return await loadCheckpoint(folder);
    } catch (error) {
      problems.push((error as Error).message);
      process.stderr.write(`Skipping a damaged checkpoint: ${(error as Error).message}\n`);
    }
  }
  if (problems.length > 0) {
    throw new TrainingError(
      `All checkpoints in ${outputDir} are damaged. Delete the folder, or train with another outputDir and without resumeFromCheckpoint.`,
    );
  }
  return undefined;
}

/**
 * Loads a checkpoint.
 * @throws ModelError when one of its files is missing, truncated or changed
 */
export async function loadCheckpoint(folder: string): Promise<Checkpoint> {
  await verifyFolder(folder);
  return {
    folder,
    weights: await readSafetensors(join(folder, names.weights)),
    moments: await readSafetensors(join(folder, names.moments)),
    state: await readState(folder),
  };
}

async function readState(folder: string): Promise<TrainerState> {
  const path = join(folder, names.state);
  const text = await readFile(path, "utf8").catch((error: Error) => {
    throw new TrainingError(`${folder} is not a checkpoint: ${error.message}`);
  });
  try {
    return JSON.parse(text) as TrainerState;
  } catch (error) {
    throw new TrainingError(`${path} is not valid JSON: ${(error as Error).message}`);
  }
}

/** Returns the checkpoint folders, by step. */
export async function checkpointFolders(outputDir: string): Promise<string[]> {
  if (!existsSync(outputDir)) return [];
  const entries = await readdir(outputDir);
  return entries
    .filter((name) => /^step-\d+$/.test(name))
    .sort()
    .map((name) => join(outputDir, name));
}

/** Returns the step of a checkpoint folder. */
export const stepOf = (folder: string): number => Number(/step-(\d+)$/.exec(folder)?.[1]);
