import { existsSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { encodeSafetensors, readSafetensors, verifyFolder, writeFolder } from "../models/index.ts";
import type { LoraConfig } from "../nn/index.ts";
import type { HostValue } from "../tensor/index.ts";
import { type ResolvedOptions, TrainingError } from "./options.ts";

/** What a training must know, besides its tensors, to go on as if it had never stopped. */
export interface TrainerState {
  /** Optimizer steps done. */
  step: number;
  options: ResolvedOptions;
  /** Digest of the training data. */
  dataDigest: string;
  runId: string;
  /** Target tokens trained on so far. */
  tokens: number;
  /** Seconds spent so far. */
  seconds: number;
  /** Training loss of the last step. */
  loss: number;
  /** The adapter's settings, if one is trained. */
  adapter: LoraConfig | null;
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

/**
 * Save a checkpoint whole or not at all, and drop the oldest beyond `limit`. Later ones, which an earlier training left
 * in the folder, go as well: they would be taken for the newest.
 */
export async function saveCheckpoint(
  outputDir: string,
  state: TrainerState,
  weights: Record<string, HostValue>,
  moments: Record<string, HostValue>,
  limit: number,
): Promise<string> {
  const folder = checkpointFolder(outputDir, state.step);
  const files = {
    [names.weights]: encodeSafetensors(weights),
    [names.moments]: encodeSafetensors(moments),
    [names.state]: JSON.stringify(state, null, 1),
  };
  // A damaged checkpoint of this step was passed over, and may be written again.
  await writeFolder(folder, files, { overwrite: true });
  const folders = await checkpointFolders(outputDir);
  const end = folders.indexOf(folder) + 1;
  const kept = new Set(folders.slice(Math.max(0, end - limit), end));
  for (const other of folders) if (!kept.has(other)) await rm(other, { recursive: true });
  return folder;
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
    throw new TrainingError(`No checkpoint in ${outputDir} is whole. Delete the folder, or train with resume: false.`);
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
    state: JSON.parse(await readFile(join(folder, names.state), "utf8")) as TrainerState,
  };
}

async function checkpointFolders(outputDir: string): Promise<string[]> {
  if (!existsSync(outputDir)) return [];
  const entries = await readdir(outputDir);
  return entries
    .filter((name) => /^step-\d+$/.test(name))
    .sort()
    .map((name) => join(outputDir, name));
}
