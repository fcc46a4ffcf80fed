import { createHash } from "node:crypto";
import { Type } from "@sinclair/typebox";
import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { invalid } from "../errors.ts";
import { parseJson } from "../json.ts";
import { int, limitOf, parseMessage, startOf, tokenOf } from "../message.ts";
import { EVALUATION_DATASETS, parseFilter, parseOrder } from "../store/filter.ts";
import type { EvaluationDataset, EvaluationRecord, KeyValue, NewEvaluationRecord, Scorer } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import * as endpoints from "./endpoints/evaluation.ts";
import type * as schemas from "./endpoints/schemas.ts";
import { checkName, otherTag } from "./limits.ts";
import { route } from "./route.ts";
import * as shapes from "./shapes.ts";

/** Bytes of a request with records. */
const MAX_RECORDS = 16 * 1024 * 1024;
/** Keys and values of a request's records. */
const MAX_VALUES = 1_000_000;

const Members = Type.Record(Type.String(), Type.Unknown());
const Records = Type.Object({
  records: Type.Array(
    Type.Object({
      inputs: Members,
      outputs: Type.Optional(Type.Unknown()),
      expectations: Type.Optional(Type.Union([Members, Type.Null()])),
      tags: Type.Optional(Type.Union([Members, Type.Null()])),
      source: Type.Optional(
        Type.Union([
          Type.Object({ source_type: Type.String(), source_data: Type.Optional(Type.Union([Members, Type.Null()])) }),
          Type.Null(),
        ]),
      ),
    }),
  ),
});

const textOf = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

/** The tags in a JSON object. */
function tagsIn(text: string | undefined): KeyValue[] {
  const tags = text === undefined || text === "" ? {} : parseJson(text, "The tags");
  if (typeof tags !== "object" || tags === null || Array.isArray(tags)) {
    throw invalid("Invalid value for parameter 'tags' supplied: expected a JSON object.");
  }
  return Object.entries(tags)
    .filter(([, value]) => value !== null)
    .map(([key, value]) => otherTag({ key, value: textOf(value) }));
}

function recordsIn(text: string): NewEvaluationRecord[] {
  const { records } = parseMessage(Records, { records: parseJson(text, "The records", MAX_VALUES) });
  return records.map(({ inputs, expectations, tags, source, ...rest }) => ({
    inputs,
    ...("outputs" in rest ? { outputs: rest.outputs ?? null } : {}),
    ...(expectations ? { expectations } : {}),
    ...(tags ? { tags: Object.fromEntries(Object.entries(tags).map(([key, value]) => [key, textOf(value)])) } : {}),
    ...(source ? { source: { source_type: source.source_type, source_data: source.source_data ?? {} } } : {}),
  }));
}

/** The type of a field, as MLflow names it. */
function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "float";
  return typeof value;
}

/** The schema of a data set, as JSON: the types of the fields, to which those of new records are added. */
function schemaWith(known: string | null, records: readonly NewEvaluationRecord[]): string {
  const before = (known === null ? {} : JSON.parse(known)) as Record<string, Record<string, string>>;
  const fields = (name: "inputs" | "outputs" | "expectations"): Record<string, string> => {
    const found: Record<string, string> = { ...before[name] };
    for (const record of records) {
      const held = record[name];
      if (typeof held !== "object" || held === null || Array.isArray(held)) continue;
      for (const [key, value] of Object.entries(held)) if (!Object.hasOwn(found, key)) found[key] = typeOf(value);
    }
    return found;
  };
  return JSON.stringify({
    inputs: fields("inputs"),
    outputs: fields("outputs"),
    expectations: fields("expectations"),
    version: "1.0",
  });
}

const dataset = (it: EvaluationDataset): schemas.EvaluationDataset => ({
  dataset_id: it.id,
  name: it.name,
  tags: JSON.stringify(Object.fromEntries(it.tags.map(({ key, value }) => [key, value]))),
  ...(it.schema === null ? {} : { schema: it.schema, profile: JSON.stringify({ num_records: it.records }) }),
  digest: createHash("sha256").update(`${it.name}:${it.updatedAt}`).digest("hex").slice(0, 8),
  created_time: it.createdAt,
  last_update_time: it.updatedAt,
  ...(it.createdBy === null ? {} : { created_by: it.createdBy }),
  ...(it.updatedBy === null ? {} : { last_updated_by: it.updatedBy }),
  ...(it.experimentIds.length > 0 ? { experiment_ids: it.experimentIds } : {}),
});

/** A record as MLflow's clients read it. */
function record(dataset_id: string, it: EvaluationRecord): object {
  const { source_type = null, source_data = {} } = it.source ?? {};
  const source_id = source_data[source_type === "TRACE" ? "trace_id" : "source_id"];
  return {
    dataset_record_id: it.id,
    dataset_id,
    inputs: it.inputs,
    ...(it.outputs === null ? {} : { outputs: it.outputs }),
    ...(it.expectations === null ? {} : { expectations: it.expectations }),
    tags: it.tags,
    ...(it.source === null ? {} : { source: it.source, source_type }),
    ...(source_id === undefined ? {} : { source_id }),
    created_time: it.createdAt,
    last_update_time: it.updatedAt,
    created_by: it.createdBy,
    last_updated_by: it.updatedBy,
  };
}

const scorer = (it: Scorer): schemas.Scorer => ({
  experiment_id: Number(it.experimentId),
  scorer_name: it.name,
  scorer_version: it.version,
  serialized_scorer: it.serialized,
  creation_time: it.createdAt,
  scorer_id: it.id,
});

/** MLflow's data sets for evaluation, under /api/3.0/mlflow. */
export function evaluationDatasetRoutes(app: FastifyInstance, { store: { evaluationDatasets } }: Tracker): void {
  const who = (): string => currentPrincipal().name;

  route(app, endpoints.createEvaluationDataset, async ({ name, experiment_ids = [], tags }) => {
    const created = await evaluationDatasets.create({
      name: checkName(name, "dataset", 255),
      experimentIds: experiment_ids,
      tags: tagsIn(tags),
      who: who(),
    });
    return { dataset: dataset(created) };
  });

  route(app, endpoints.getEvaluationDataset, async ({ dataset_id }) => ({
    dataset: dataset(await evaluationDatasets.get(dataset_id)),
  }));

  route(app, endpoints.searchEvaluationDatasets, async (message) => {
    const order = parseOrder(message.order_by, EVALUATION_DATASETS);
    const { experiment_ids = [] } = message;
    const { items, next } = await evaluationDatasets.search({
      ...(experiment_ids.length > 0 ? { experimentIds: experiment_ids } : {}),
      filter: parseFilter(message.filter_string, EVALUATION_DATASETS),
      order,
      ...startOf(message.page_token, order),
      limit: limitOf(message.max_results, 1000, 1000),
    });
    return shapes.page("datasets", items.map(dataset), tokenOf(next, order));
  });

  route(app, endpoints.deleteEvaluationDataset, async ({ dataset_id }) => {
    await evaluationDatasets.remove(dataset_id);
    return {};
  });

  route(app, endpoints.setEvaluationDatasetTags, async ({ dataset_id, tags }) => ({
    dataset: dataset(await evaluationDatasets.setTags(dataset_id, tagsIn(tags), who())),
  }));

  route(app, endpoints.deleteEvaluationDatasetTag, async ({ dataset_id, key }) => {
    await evaluationDatasets.deleteTag(dataset_id, key, who());
    return {};
  });

  route(
    app,
    endpoints.upsertEvaluationRecords,
    async ({ dataset_id, records, updated_by }) => {
      const parsed = recordsIn(records);
      const { inserted, updated } = await evaluationDatasets.upsert(dataset_id, parsed, {
        who: updated_by || who(),
        describe: (schema) => schemaWith(schema, parsed),
      });
      return { inserted_count: inserted, updated_count: updated };
    },
    { bodyLimit: MAX_RECORDS },
  );

  route(app, endpoints.getEvaluationRecords, async ({ dataset_id, max_results, page_token }) => {
    const start = startOf(page_token, []);
    if ("offset" in start) throw invalid("Invalid page_token: use the next_page_token of the previous response.");
    const { items, next } = await evaluationDatasets.records(dataset_id, {
      ...start,
      limit: limitOf(max_results, 1000, 1000),
    });
    const token = tokenOf(next, []);
    return {
      records: JSON.stringify(items.map((it) => record(dataset_id, it))),
      ...(token === undefined ? {} : { next_page_token: token }),
    };
  });

  route(app, endpoints.deleteEvaluationRecords, async ({ dataset_id, dataset_record_ids = [] }) => ({
    deleted_count: await evaluationDatasets.removeRecords(dataset_id, dataset_record_ids, who()),
  }));

  route(app, endpoints.getEvaluationDatasetExperiments, async ({ dataset_id }) => {
    const { experimentIds } = await evaluationDatasets.get(dataset_id);
    return experimentIds.length > 0 ? { experiment_ids: experimentIds } : {};
  });

  route(app, endpoints.addEvaluationDatasetExperiments, async ({ dataset_id, experiment_ids = [] }) => ({
    dataset: dataset(await evaluationDatasets.addExperiments(dataset_id, experiment_ids, who())),
  }));

  route(app, endpoints.removeEvaluationDatasetExperiments, async ({ dataset_id, experiment_ids = [] }) => ({
    dataset: dataset(await evaluationDatasets.removeExperiments(dataset_id, experiment_ids, who())),
  }));
}

/** MLflow's scorers, under /api/3.0/mlflow. */
export function scorerRoutes(app: FastifyInstance, { store: { scorers } }: Tracker): void {
  const versionOf = (version: string | number | undefined) =>
    version === undefined ? undefined : int(version, "version");

  route(app, endpoints.registerScorer, async ({ experiment_id, name, serialized_scorer }) => {
    const it = await scorers.register({
      experimentId: experiment_id,
      name: checkName(name, "scorer", 256),
      serialized: serialized_scorer,
    });
    return {
      version: it.version,
      scorer_id: it.id,
      experiment_id: it.experimentId,
      name: it.name,
      serialized_scorer: it.serialized,
      creation_time: it.createdAt,
    };
  });

  route(app, endpoints.listScorers, async ({ experiment_id }) =>
    shapes.page("scorers", (await scorers.list(experiment_id)).map(scorer), undefined),
  );

  route(app, endpoints.listScorerVersions, async ({ experiment_id, name }) =>
    shapes.page("scorers", (await scorers.versions(experiment_id, name)).map(scorer), undefined),
  );

  route(app, endpoints.getScorer, async ({ experiment_id, name, version }) => ({
    scorer: scorer(await scorers.get(experiment_id, name, versionOf(version))),
  }));

  route(app, endpoints.deleteScorer, async ({ experiment_id, name, version }) => {
    await scorers.remove(experiment_id, name, versionOf(version));
    return {};
  });
}
