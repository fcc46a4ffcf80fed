import { TrackerError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import type { CardStatement, KeyValue, ModelVersion, RunData } from "../store/types.ts";

/** A measure of the model before and after the training of its run. */
export interface Comparison {
  /** `test_perplexity` of `before/test_perplexity`. */
  metric: string;
  before: number | null;
  after: number | null;
}

export interface DatasetFact {
  name: string;
  digest: string;
  /** What it was used for: train, eval, test. */
  context: string | null;
  rows: number | null;
  /** Sizes of the splits, if the profile has them. */
  splits: Record<string, number>;
  source: string | null;
  licence: string | null;
}

export interface RunFact {
  id: string;
  name: string;
  experimentId: string;
  experiment: string;
  status: string;
  user: string;
  startTime: number;
  endTime: number | null;
  notebook: string | null;
  gitCommit: string | null;
  gitDirty: boolean;
  device: string | null;
  node: string | null;
  versions: Record<string, string>;
  seeds: Record<string, string>;
}

/** The recorded facts about a model version. */
export interface CardFacts {
  name: string;
  version: number;
  stage: string;
  aliases: string[];
  description: string | null;
  registeredBy: string | null;
  registeredAt: number;
  source: string;
  run: RunFact | null;
  /** The runs whose models this one was trained from, nearest first. */
  lineage: { id: string; name: string | null }[];
  totalParameters: number | null;
  trainableParameters: number | null;
  totalTokens: number | null;
  hyperparameters: KeyValue[];
  architecture: KeyValue[];
  datasets: DatasetFact[];
  /** Final metrics of training: the latest `train/` and `eval/` values. */
  training: { metric: string; value: number }[];
  /** The model's own figures on held-out data: `test/...` without the prefix. */
  evaluation: { metric: string; value: number }[];
  comparison: Comparison[];
}

/** The statements that users write, in the order of the card. */
export const STATEMENTS = [
  "intended_use",
  "out_of_scope_use",
  "limitations",
  "ethical_considerations",
  "license",
  "contact",
] as const;
export type StatementField = (typeof STATEMENTS)[number];
export type Statements = Partial<Record<StatementField, CardStatement>>;

const MAX_LINEAGE = 20;

async function orMissing<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof TrackerError && error.code === "RESOURCE_DOES_NOT_EXIST") return null;
    throw error;
  }
}

/** A tag may name any run. Of a run that the reader may not view, only what the tag says is shown. */
function unlessDenied(error: unknown): null {
  if (error instanceof TrackerError && error.code === "PERMISSION_DENIED") return null;
  throw error;
}

/** The fields of a JSON object as strings; empty if the text is not a JSON object. */
function fields(json: string | null | undefined): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json ?? "{}");
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : {};
  } catch {
    return {};
  }
}

const texts = (json: string | undefined): Record<string, string> =>
  Object.fromEntries(
    Object.entries(fields(json)).map(([key, value]) => [
      key,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );

const count = (text: string | undefined): number | null => {
  const value = Number(text);
  return text !== undefined && text.trim() !== "" && Number.isFinite(value) ? value : null;
};

function datasetFact({
  dataset,
  tags,
}: {
  dataset: { name: string; digest: string; source: string; profile: string | null };
  tags: KeyValue[];
}): DatasetFact {
  const profile = fields(dataset.profile);
  const tag = (...keys: string[]): string | null => tags.find(({ key }) => keys.includes(key))?.value ?? null;
  const numberOf = (value: unknown): number | null => (typeof value === "number" ? value : null);
  const splits = Object.entries(fields(JSON.stringify(profile.splits ?? {}))).flatMap(([name, value]) =>
    typeof value === "number" ? [[name, value] as const] : [],
  );
  const licence = profile.license ?? profile.licence;
  return {
    name: dataset.name,
    digest: dataset.digest,
    context: tag("mlflow.data.context", "context"),
    rows: numberOf(profile.rows ?? profile.num_rows),
    splits: Object.fromEntries(splits),
    source: dataset.source || null,
    licence: tag("license", "licence", "anneal.license") ?? (typeof licence === "string" ? licence : null),
  };
}

async function lineageOf(store: Store, first: string | undefined): Promise<{ id: string; name: string | null }[]> {
  const lineage: { id: string; name: string | null }[] = [];
  let id = first;
  while (id && lineage.length < MAX_LINEAGE && !lineage.some((run) => run.id === id)) {
    const data: RunData | null = await orMissing(store.runs.getData(id)).catch(unlessDenied);
    lineage.push({ id, name: data?.run.name ?? null });
    id = data?.tags.find(({ key }) => key === "anneal.base_run_id")?.value;
  }
  return lineage;
}

function comparisonOf(metrics: Map<string, number>): Comparison[] {
  const names = new Set<string>();
  for (const key of metrics.keys()) {
    if (key.startsWith("before/")) names.add(key.slice(7));
    if (key.startsWith("after/")) names.add(key.slice(6));
  }
  return [...names].map((metric) => ({
    metric,
    before: metrics.get(`before/${metric}`) ?? null,
    after: metrics.get(`after/${metric}`) ?? null,
  }));
}

/** Collects the facts of a model version from its record and its source run. */
export async function gatherFacts(store: Store, version: ModelVersion): Promise<CardFacts> {
  const data = version.originRun === null ? null : await orMissing(store.runs.getData(version.originRun));
  const inputs = data ? (await store.runs.inputs([data.run.id])).get(data.run.id) : undefined;
  const experiment = data ? await orMissing(store.experiments.get(data.run.experimentId)) : null;
  const tags = new Map(data?.tags.map(({ key, value }) => [key, value]));
  const metrics = new Map(data?.metrics.map(({ key, value }) => [key, value]));
  const params = data?.params ?? [];
  const isArchitecture = ({ key }: KeyValue): boolean => key.startsWith("model.");
  const under = (...prefixes: string[]) =>
    [...metrics].filter(([key]) => prefixes.some((prefix) => key.startsWith(prefix)));

  return {
    name: version.name,
    version: version.version,
    stage: version.stage,
    aliases: version.aliases,
    description: version.description,
    registeredBy: version.userId,
    registeredAt: version.createdAt,
    source: version.source,
    run: data && {
      id: data.run.id,
      name: data.run.name,
      experimentId: data.run.experimentId,
      experiment: experiment?.name ?? data.run.experimentId,
      status: data.run.status,
      user: data.run.userId,
      startTime: data.run.startTime,
      endTime: data.run.endTime,
      notebook: tags.get("mlflow.source.name") ?? null,
      gitCommit: tags.get("mlflow.source.git.commit") ?? null,
      gitDirty: tags.get("anneal.git.dirty") === "true",
      device: tags.get("anneal.device") ?? null,
      node: tags.get("anneal.node") ?? null,
      versions: texts(tags.get("anneal.versions")),
      seeds: texts(tags.get("anneal.seeds")),
    },
    lineage: await lineageOf(store, tags.get("anneal.base_run_id")),
    totalParameters: count(tags.get("anneal.total_parameters")),
    trainableParameters: count(tags.get("anneal.trainable_parameters")),
    totalTokens: count(tags.get("anneal.total_tokens")),
    hyperparameters: params.filter((param) => !isArchitecture(param)),
    architecture: params.filter(isArchitecture).map(({ key, value }) => ({ key: key.slice(6), value })),
    datasets: (inputs?.datasets ?? []).map(datasetFact),
    training: under("train/", "eval/").map(([metric, value]) => ({ metric, value })),
    evaluation: under("test/").map(([metric, value]) => ({ metric: metric.slice(5), value })),
    comparison: comparisonOf(metrics),
  };
}

export function statementsOf(list: CardStatement[]): Statements {
  const known = new Map(list.map((statement) => [statement.field, statement]));
  const statements: Statements = {};
  for (const field of STATEMENTS) {
    const statement = known.get(field);
    if (statement) statements[field] = statement;
  }
  return statements;
}
