import type { RunStore } from "../store.ts";
import type { Dataset, DatasetInput, ModelInput, ModelOutput } from "../types.ts";
import { type Connection, chunks, type Database, numericIds, push } from "./database.ts";
import { keyValuesOf } from "./key-values.ts";
import { activeRun, toRun } from "./run-records.ts";

interface InputRow {
  id: number;
  run_id: string;
  name: string;
  digest: string;
  source_type: string;
  source: string;
  schema: string | null;
  profile: string | null;
}

async function datasetId(tx: Connection, experiment: number, dataset: Dataset): Promise<number> {
  // The first description of a data set is kept: the digest shows that later ones are of the same data.
  // The profile is stored with each use, because splits of a data set have different ones.
  await tx.run(
    "INSERT INTO datasets (experiment_id, name, digest, source_type, source, schema) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    experiment,
    dataset.name,
    dataset.digest,
    dataset.sourceType,
    dataset.source,
    dataset.schema,
  );
  const row = await tx.get<{ id: number }>(
    "SELECT id FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?",
    experiment,
    dataset.name,
    dataset.digest,
  );
  if (!row) throw new Error("the data set was not stored");
  return row.id;
}

/** Inputs and outputs of runs. */
export function runInputs(db: Database): Pick<RunStore, "logInputs" | "logOutputs" | "inputs" | "datasets"> {
  const { among } = db.dialect;
  return {
    logInputs: (id, { datasets, models }) =>
      db.transaction(async (tx) => {
        const run = await activeRun(tx, id);
        for (const { dataset, tags } of datasets) {
          const context = tags.find(({ key }) => key === "mlflow.data.context")?.value ?? "";
          const values = [run.seq, await datasetId(tx, run.experiment_id, dataset), context] as const;
          await tx.run(
            `INSERT INTO inputs (run, dataset, context, profile) VALUES (?, ?, ?, ?)
             ON CONFLICT (run, dataset, context) DO UPDATE SET profile = COALESCE(excluded.profile, inputs.profile)`,
            ...values,
            dataset.profile,
          );
          const input = await tx.get<{ id: number }>(
            "SELECT id FROM inputs WHERE run = ? AND dataset = ? AND context = ?",
            ...values,
          );
          if (!input) throw new Error("the input was not stored");
          for (const { key, value } of tags) {
            await tx.run(
              "INSERT INTO input_tags VALUES (?, ?, ?) ON CONFLICT (input, key) DO UPDATE SET value = excluded.value",
              input.id,
              key,
              value,
            );
          }
        }
        for (const { modelId } of models) {
          await tx.run("INSERT INTO model_inputs VALUES (?, ?) ON CONFLICT DO NOTHING", run.seq, modelId);
        }
        return toRun(run);
      }),

    logOutputs: (id, models) =>
      db.transaction(async (tx) => {
        const run = await activeRun(tx, id);
        for (const { modelId, step } of models) {
          await tx.run("INSERT INTO model_outputs VALUES (?, ?, ?) ON CONFLICT DO NOTHING", run.seq, modelId, step);
        }
        return toRun(run);
      }),

    async inputs(ids) {
      const datasets = new Map<string, DatasetInput[]>();
      const models = new Map<string, ModelInput[]>();
      const outputs = new Map<string, ModelOutput[]>();
      for (const part of chunks(ids, 500)) {
        const rows = await db.all<InputRow>(
          `SELECT i.id, r.run_id, d.name, d.digest, d.source_type, d.source, d.schema, i.profile
           FROM runs r JOIN inputs i ON i.run = r.seq JOIN datasets d ON d.id = i.dataset
           WHERE ${among("r.run_id")} ORDER BY i.id`,
          part,
        );
        const inputs = rows.map(({ id }) => id);
        const tags = await keyValuesOf(db, "input_tags", "input", inputs);
        for (const { id, run_id, source_type, ...dataset } of rows) {
          push(datasets, run_id, { dataset: { ...dataset, sourceType: source_type }, tags: tags.get(id) ?? [] });
        }
        const read = await db.all<{ run_id: string; model_id: string }>(
          `SELECT r.run_id, m.model_id FROM runs r JOIN model_inputs m ON m.run = r.seq WHERE ${among("r.run_id")} ORDER BY m.model_id`,
          part,
        );
        for (const { run_id, model_id } of read) push(models, run_id, { modelId: model_id });
        const made = await db.all<{ run_id: string; model_id: string; step: number }>(
          `SELECT r.run_id, m.model_id, m.step FROM runs r JOIN model_outputs m ON m.run = r.seq WHERE ${among("r.run_id")} ORDER BY m.step, m.model_id`,
          part,
        );
        for (const { run_id, model_id, step } of made) push(outputs, run_id, { modelId: model_id, step });
      }
      return new Map(
        ids.map((id) => [
          id,
          { datasets: datasets.get(id) ?? [], models: models.get(id) ?? [], outputs: outputs.get(id) ?? [] },
        ]),
      );
    },

    async datasets(experimentIds) {
      const rows = await db.all<{ experiment_id: number; name: string; digest: string; context: string }>(
        `SELECT DISTINCT d.experiment_id, d.name, d.digest, i.context FROM datasets d JOIN inputs i ON i.dataset = d.id
         WHERE ${among("d.experiment_id")} ORDER BY d.name, d.digest, i.context LIMIT 1000`,
        numericIds(experimentIds),
      );
      return rows.map(({ experiment_id, ...row }) => ({ ...row, experimentId: String(experiment_id) }));
    },
  };
}
