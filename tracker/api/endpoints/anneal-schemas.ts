import { type Static, Type } from "@sinclair/typebox";
import { STATEMENTS, type StatementField } from "../../cards/facts.ts";
import type { GrantKind, Role, Scope } from "../../store/types.ts";
import { OPERATORS } from "./fields.ts";
import { Experiment, enumOf, KeyValue, MetricValue, named, object, orNull, RunInfo, texts, time } from "./schemas.ts";

/*
 * The schemas of responses beyond MLflow's protocol: gates, model cards, the pages' tables, accounts.
 */

const text = Type.String();
const optional = Type.Optional;
const bool = Type.Boolean();
const count = orNull(Type.Number());

const gate = {
  metric: text,
  op: enumOf(OPERATORS),
  bound: optional(Type.Number()),
  versus: optional(Type.Literal("production")),
};
/** A condition for a model's promotion to Production. */
export const Gate = named("Gate", gate);
/** The result of a gate for one version. */
export const GateResult = named("GateResult", {
  ...gate,
  value: orNull(MetricValue),
  against: orNull(MetricValue),
  passed: bool,
  why: text,
});
export const StageChange = named("StageChange", {
  version: Type.Integer(),
  from: text,
  to: text,
  who: text,
  at: time,
  comment: orNull(text),
  gates: Type.Array(GateResult),
});

const Statement = object({ field: text, value: text, who: text, at: time });
const statement = optional(Statement);
const measured = Type.Array(object({ metric: text, value: MetricValue }));
const CardFacts = named("CardFacts", {
  name: text,
  version: Type.Integer(),
  stage: text,
  aliases: Type.Array(text),
  description: orNull(text),
  registeredBy: orNull(text),
  registeredAt: time,
  source: text,
  run: orNull(
    object({
      id: text,
      name: text,
      experimentId: text,
      experiment: text,
      status: text,
      user: text,
      startTime: time,
      endTime: orNull(time),
      notebook: orNull(text),
      gitCommit: orNull(text),
      gitDirty: bool,
      device: orNull(text),
      node: orNull(text),
      versions: texts,
      seeds: texts,
    }),
  ),
  lineage: Type.Array(object({ id: text, name: orNull(text) })),
  totalParameters: count,
  trainableParameters: count,
  totalTokens: count,
  hyperparameters: Type.Array(KeyValue),
  architecture: Type.Array(KeyValue),
  datasets: Type.Array(
    object({
      name: text,
      digest: text,
      context: orNull(text),
      rows: count,
      splits: Type.Record(text, Type.Number()),
      source: orNull(text),
      licence: orNull(text),
    }),
  ),
  training: measured,
  evaluation: measured,
  comparison: Type.Array(object({ metric: text, before: orNull(MetricValue), after: orNull(MetricValue) })),
});
export const Card = named("Card", {
  markdown: text,
  facts: CardFacts,
  statements: object({
    intended_use: statement,
    out_of_scope_use: statement,
    limitations: statement,
    ethical_considerations: statement,
    license: statement,
    contact: statement,
  }),
  missing: Type.Array(enumOf(STATEMENTS)),
});

/** An experiment and its number of runs. */
export const CountedExperiment = object({ ...Experiment.properties, runs: Type.Integer() });
/** A row of the table of runs, with the requested columns. */
export const RunRow = object({
  ...RunInfo.properties,
  metrics: Type.Record(text, MetricValue),
  params: texts,
  tags: texts,
  models: Type.Array(object({ name: text, version: text, stage: text })),
});

export const ROLES = ["none", "viewer", "editor", "admin"] as const satisfies readonly Role[];
export const SCOPES = ["read", "write", "admin"] as const satisfies readonly Scope[];
export const KINDS = ["experiment", "model"] as const satisfies readonly GrantKind[];
const role = enumOf(ROLES);
export const Me = object({ name: text, role, scope: enumOf(SCOPES), owner: bool });
export const User = named("User", { name: text, role, disabled: bool, signs_in: bool, creation_time: time });
export const token = {
  id: text,
  user: text,
  label: text,
  scope: enumOf(SCOPES),
  session: bool,
  creation_time: time,
  expiration_time: orNull(time),
  last_used_time: orNull(time),
};
export const Token = named("Token", token);
export const Grant = named("Grant", { user: text, kind: enumOf(KINDS), target: text, role });
export const AuditEntry = named("AuditEntry", {
  id: Type.Integer(),
  time,
  who: text,
  action: text,
  target: text,
  status: Type.Integer(),
});

export const Rewind = named("Rewind", {
  id: text,
  step: Type.Integer(),
  time,
  /** The number of points that were taken back. */
  points: Type.Integer(),
});

export type Gate = Static<typeof Gate>;
export type GateResult = Static<typeof GateResult>;
export type StageChange = Static<typeof StageChange>;
export type Card = Static<typeof Card>;
export type CardField = StatementField;
export type CountedExperiment = Static<typeof CountedExperiment>;
export type RunRow = Static<typeof RunRow>;
export type User = Static<typeof User>;
export type Token = Static<typeof Token>;
export type Grant = Static<typeof Grant>;
export type AuditEntry = Static<typeof AuditEntry>;
export type Rewind = Static<typeof Rewind>;
