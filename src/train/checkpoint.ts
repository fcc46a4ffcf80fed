import { existsSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { readSafetensors, saveFolder, verifyFolder } from "../models/index.ts";
import type { HostValue } from "../tensor/index.ts";
import { TrainingError } from "./error.ts";
import type { ResolvedOptions } from "./options.ts";

/** What a training must know, besides its tensors, to go on as if it had never stopped. */
export interface TrainerState {
  /** Optimizer steps done. */
  step: number;
  options: ResolvedOptions;
  /** Digest of the training data. */
  dataDigest: string;
  runId: string;
  /** Tokens trained on so far: those with a loss. */
  tokens: number;
  /** Seconds spent so far. */
  seconds: number;
  /** Training loss of the last step. */
  loss: number;
  /** The evaluation's metrics at this step, when there was one. */
  metrics: Record<string, number> | null;
  /** The best value of metricForBestModel so far, and the step that it is of. */
  best: { step: number; value: number } | null;
  /** The adapter's settings in PEFT's form, if one is trained. */
  adapter: Record<string, unknown> | null;
}

/** A checkpoint as read back. */
export interface Checkpoint {
  folder: string;
  state: TrainerState;
  weights: Record<string, HostValue>;
  moments: Record<string, HostValue>;
}

const names = { weights: "weights.safetensors", moments: "optimizer.safetensors", state: "trainer_state.json" };

const prefix = "step-";

/** Where the checkpoint of a step lies. */
export function checkpointFolder(outputDir: string, step: number): string {
  return join(outputDir, `${prefix}${String(step).padStart(6, "0")}`);
}

/** Save a checkpoint whole or not at all. */
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
  // A damaged checkpoint of this step is made anew.
  await saveFolder(folder, write, { overwrite: true });
  return folder;
}

const sources = (values: Readonly<Record<string, HostValue>>) =>
  Object.entries(values).map(([name, { shape, data }]) => {
    return { name, dtype: "float32" as const, shape, read: () => data as Float32Array<ArrayBuffer> };
  });

/**
 * Delete checkpoints of a training's own, but for the newest `limit` and the best.
 * @param own steps that this training saved, oldest first
 * @returns those that are left
 */
export async function pruneCheckpoints(
  outputDir: string,
  own: readonly number[],
  limit: number,
  best: number | undefined,
): Promise<number[]> {
  const kept = own.filter((step, i) => i >= own.length - limit || step === best);
  for (const step of own) {
    if (!kept.includes(step)) await rm(checkpointFolder(outputDir, step), { recursive: true, force: true });
  }
  return kept;
}

/**
 * The newest checkpoint that is whole. Damaged ones are passed over with a warning: an earlier one is better than none.
 * @returns undefined when there is none at all
 * @throws TrainingError when there are some, and every one is damaged
 */
export async function newestCheckpoint(outputDir: string): Promise<Checkpoint | undefined> {
  const folders = (await checkpointFolders(outputDir)).reverse();
  const problems: string[] = [];
  for (const folder of folders) {
    try {
      return await loadCheckpoint(folder);
    } catch (error) {
      problems.push((error as Error).message);
      process.stderr.write(`Passing over a checkpoint: ${(error as Error).message}\n`);
    }
  }
  if (problems.length > 0) {
    throw new TrainingError(
      `No checkpoint in ${outputDir} is whole. Delete the folder, or train without resumeFromCheckpoint into another.`,
    );
  }
  return undefined;
}

/**
 * Read a checkpoint.
 * @throws ModelError when a file of it is missing, cut short or changed
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
    throw new TrainingError(`${folder} is no checkpoint: ${error.message}`);
  });
  try {
    return JSON.parse(text) as TrainerState;
  } catch (error) {
    throw new TrainingError(`${path} is no JSON: ${(error as Error).message}`);
  }
}

/** Folders of checkpoints, by step. */
export async function checkpointFolders(outputDir: string): Promise<string[]> {
  if (!existsSync(outputDir)) return [];
  const entries = await readdir(outputDir);
  return entries
    .filter((name) => /^step-\d+$/.test(name))
    .sort()
    .map((name) => join(outputDir, name));
}

/** The step of a checkpoint's folder. */
export const stepOf = (folder: string): number => Number(/step-(\d+)$/.exec(folder)?.[1]);
