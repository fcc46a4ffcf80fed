import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { TrackerClient } from "./client.ts";
import { TrackerError } from "./error.ts";
import { createModel, findModel, finishModel } from "./logged-model.ts";
import type { JournalEntry, JournalRecord } from "./records.ts";

/** Metrics per request: MLflow's limit for a batch. */
const maxPoints = 1000;
/** Bytes of metrics per request: MLflow's limit is one megabyte in total. */
const maxBytes = 900_000;
/** Parameters per request: MLflow's limit for a batch. */
const maxParams = 100;

/** A run at the tracker. */
export interface RemoteRun {
  id: string;
  experimentId: string;
  /** Maps our ids of logged models to the tracker's. */
  readonly models: Map<string, string>;
}

/** Groups consecutive metrics that fit into one log-batch request; all other records are separate. */
export function* batches(entries: readonly JournalEntry[]): Generator<JournalEntry[]> {
  let current: JournalEntry[] = [];
  let [points, bytes] = [0, 0];
  for (const entry of entries) {
    const count = entry.isMetrics ? entry.pointCount : 0;
    const joins =
      count > 0 && current[0]?.isMetrics && points + count <= maxPoints && bytes + entry.json.length <= maxBytes;
    if (!joins && current.length > 0) {
      yield current;
      current = [];
      [points, bytes] = [0, 0];
    }
    current.push(entry);
    points += count;
    bytes += entry.json.length;
  }
  if (current.length > 0) yield current;
}

/** Sends a group of {@link batches}. Idempotent. */
export async function deliver(client: TrackerClient, run: RemoteRun, batch: readonly JournalEntry[]): Promise<void> {
  const [first] = batch;
  if (!first.isMetrics) return deliverRecord(client, run, first.record);
  if (batch.length > 1 || first.pointCount <= maxPoints) {
    // Points are sent as stored in the journal, without parsing them.
    const parts = batch.filter((entry) => entry.pointCount > 0).flatMap((entry) => [Buffer.from(","), entry.points]);
    if (parts.length === 0) return;
    const body = [`{"run_id":${JSON.stringify(run.id)},"metrics":[`, ...parts.slice(1), "]}"];
    await client.call("POST", "runs/log-batch", Buffer.concat(body.map((part) => Buffer.from(part))));
    return;
  }
  const { record } = first;
  const points = record.kind === "metrics" ? record.points : [];
  for (let i = 0; i < points.length; i += maxPoints) {
    await client.runs.log(run.id, { metrics: points.slice(i, i + maxPoints) });
  }
}

async function deliverRecord(client: TrackerClient, run: RemoteRun, record: JournalRecord): Promise<void> {
  switch (record.kind) {
    case "create":
    case "metrics":
      return;
    case "params": {
      const params = Object.entries(record.params);
      for (let i = 0; i < params.length; i += maxParams) {
        await client.runs.log(run.id, { params: Object.fromEntries(params.slice(i, i + maxParams)) });
      }
      return;
    }
    case "tags":
      return client.runs.log(run.id, { tags: record.tags });
    case "dataset": {
      const { name, digest, context, profile } = record.dataset;
      const source = { source_type: "local", source: JSON.stringify({ name }) };
      const dataset = { name, digest, ...source, profile: JSON.stringify(profile) };
      return client.runs.logInput(run.id, dataset, context);
    }
    case "artifact":
      // Already sent and removed, but the acknowledgement was lost.
      if (!existsSync(record.file)) return;
      await client.uploadArtifact(run.experimentId, run.id, record.path, record.file);
      if (record.model) {
        const model = await findModel(client, run, record.model.id);
        if (model) await client.uploadArtifact(run.experimentId, `models/${model}`, record.model.path, record.file);
      }
      await rm(record.file, { force: true });
      return;
    case "model":
      return createModel(client, run, record);
    case "model-ready":
      return finishModel(client, run, record.model);
    case "rewind": {
      const { id, step, time } = record;
      await client.request("POST", `/api/anneal/runs/${run.id}/rewinds`, { id, step, time });
      return;
    }
    case "status":
      await client.runs.update(run.id, { status: record.status, endTime: record.endTime });
  }
}

/** Returns the journal's run at the tracker, or creates it. */
export async function createRun(
  client: TrackerClient,
  runId: string,
  record: JournalRecord & { kind: "create" },
): Promise<RemoteRun> {
  const existing = await runNamed(client, runId);
  if (existing) return existing;
  const experimentId = await experimentNamed(client, record.experiment);
  const tagged = await runTagged(client, experimentId, runId);
  if (tagged) return tagged;
  const { name, startTime, tags } = record;
  const created = await client.runs.create(experimentId, {
    name,
    startTime,
    tags: { ...tags, "anneal.client_id": runId },
  });
  return { id: created.info.run_id, experimentId, models: new Map() };
}

/** Returns the run with our id, if the tracker uses our ids. */
async function runNamed(client: TrackerClient, id: string): Promise<RemoteRun | undefined> {
  try {
    const { info } = await client.runs.get(id);
    return { id, experimentId: info.experiment_id, models: new Map() };
  } catch (error) {
    if (error instanceof TrackerError && !error.temporary) return undefined;
    throw error;
  }
}

/** Returns the run that we created at a tracker that assigns its own ids, such as MLflow's; avoids duplicates. */
async function runTagged(client: TrackerClient, experiment: string, id: string): Promise<RemoteRun | undefined> {
  const filter = `tags.\`anneal.client_id\` = '${id}'`;
  for await (const { info } of client.runs.search([experiment], { filter, limit: 1 })) {
    return { id: info.run_id, experimentId: info.experiment_id, models: new Map() };
  }
  return undefined;
}

async function experimentNamed(client: TrackerClient, name: string): Promise<string> {
  try {
    return (await client.experiments.getByName(name)).experiment_id;
  } catch (error) {
    if (!(error instanceof TrackerError) || error.code !== "RESOURCE_DOES_NOT_EXIST") throw error;
  }
  try {
    return await client.experiments.create(name);
  } catch (error) {
    // Another process was faster.
    if (error instanceof TrackerError && error.code === "RESOURCE_ALREADY_EXISTS") {
      return (await client.experiments.getByName(name)).experiment_id;
    }
    throw error;
  }
}
