import type { Clause, OrderClause } from "./filter.ts";
import type {
  Alias,
  ArtifactRecord,
  AuditEntry,
  CardStatement,
  Dataset,
  DatasetInput,
  Experiment,
  Gate,
  GateResult,
  Grant,
  GrantKind,
  KeyValue,
  Lifecycle,
  LoggedModel,
  LoggedModelStatus,
  Metric,
  ModelInput,
  ModelMetric,
  ModelOutput,
  ModelVersion,
  RegisteredModel,
  Role,
  Run,
  RunData,
  RunMetric,
  RunStatus,
  Scope,
  Span,
  Stage,
  StageChange,
  Token,
  Trace,
  User,
  ViewType,
  Webhook,
  WebhookEvent,
} from "./types.ts";

/*
 * What the rest of the tracker asks of a database. Every function is one atomic step.
 * They return promises because a database across the network has to; SQLite answers at once.
 * A function that is given the id of something that is not there throws RESOURCE_DOES_NOT_EXIST.
 */

export interface Page {
  offset: number;
  limit: number;
}

export interface Search extends Page {
  filter: Clause[];
  order: OrderClause[];
}

/** A page of results; `more` says whether others follow. */
export interface Found<T> {
  items: T[];
  more: boolean;
}

export interface ExperimentStore {
  create(experiment: { name: string; artifactLocation?: string; tags: KeyValue[] }): Promise<Experiment>;
  get(id: string): Promise<Experiment>;
  getByName(name: string): Promise<Experiment>;
  search(search: Search & { view: ViewType }): Promise<Found<Experiment>>;
  rename(id: string, name: string): Promise<void>;
  /** Moves an experiment and its runs to another lifecycle stage. */
  setLifecycle(id: string, lifecycle: Lifecycle): Promise<void>;
  setTag(id: string, tag: KeyValue): Promise<void>;
  deleteTag(id: string, key: string): Promise<void>;
  /** Number of active runs of each experiment. */
  runCounts(): Promise<Map<string, number>>;
  /** Keys of metrics and params that the experiments' active runs have, the most used first. */
  keys(ids: string[]): Promise<{ metrics: string[]; params: string[] }>;
}

export interface NewRun {
  experimentId: string;
  name: string;
  userId: string;
  startTime: number;
  tags: KeyValue[];
  /** A run that was created before with the same client id in the same experiment is returned instead. */
  clientId?: string;
}

export interface RunSearch extends Search {
  experimentIds: string[];
  view: ViewType;
}

/** A row of a table of runs: the run, and only those metrics, params and tags that the table shows. */
export interface RunRow {
  run: Run;
  metrics: Record<string, number>;
  params: Record<string, string>;
  tags: Record<string, string>;
}

export interface RunStore {
  create(run: NewRun): Promise<{ data: RunData; created: boolean }>;
  get(id: string): Promise<Run>;
  getData(id: string): Promise<RunData>;
  search(search: RunSearch): Promise<Found<RunData>>;
  table(
    search: RunSearch & { metrics: string[]; params: string[]; tags: string[] },
  ): Promise<{ rows: RunRow[]; total: number }>;
  update(id: string, change: { status?: RunStatus; endTime?: number; name?: string }): Promise<Run>;
  setLifecycle(id: string, lifecycle: Lifecycle): Promise<Run>;
  /** Logs all of a batch or, where something in it is wrong, nothing. Points that are there already are not doubled. */
  log(
    id: string,
    batch: { metrics: (Metric & Partial<ModelMetric>)[]; params: KeyValue[]; tags: KeyValue[] },
  ): Promise<Run>;
  deleteTag(id: string, key: string): Promise<Run>;
  logInputs(id: string, inputs: { datasets: DatasetInput[]; models: ModelInput[] }): Promise<Run>;
  logOutputs(id: string, models: ModelOutput[]): Promise<Run>;
  inputs(
    ids: string[],
  ): Promise<Map<string, { datasets: DatasetInput[]; models: ModelInput[]; outputs: ModelOutput[] }>>;
  datasets(
    experimentIds: string[],
  ): Promise<(Pick<Dataset, "name" | "digest"> & { experimentId: string; context: string })[]>;
}

/** Where a page of a history ended: at this point. */
export interface HistoryMark {
  step: number;
  timestamp: number;
  isNan: number;
  value: number;
}

export interface MetricStore {
  /**
   * A page of one metric's points, in the order of their steps, and the mark after which the next begins. The points come
   * as `{"key", "value", "timestamp", "step"}` in JSON, joined by commas, as the database writes them: to make objects of a
   * long history and JSON again costs several times what reading it does.
   */
  history(
    runId: string,
    key: string,
    page: { after?: HistoryMark; limit: number },
  ): Promise<{ json: string; next?: HistoryMark }>;
  /** Points of one metric of several runs. */
  bulk(runIds: string[], key: string, limit: number): Promise<RunMetric[]>;
  /** At most `count` points per run, spread evenly over the steps from `start` to `end`; first and last are among them. */
  sample(runIds: string[], key: string, range: { start?: number; end?: number; count: number }): Promise<RunMetric[]>;
}

export interface NewLoggedModel {
  id: string;
  experimentId: string;
  name: string;
  modelType: string | null;
  sourceRunId: string | null;
  tags: KeyValue[];
  params: KeyValue[];
}

export interface LoggedModelStore {
  create(model: NewLoggedModel): Promise<LoggedModel>;
  get(id: string): Promise<LoggedModel>;
  search(search: Search & { experimentIds: string[] }): Promise<Found<LoggedModel>>;
  setStatus(id: string, status: LoggedModelStatus, message: string | null): Promise<LoggedModel>;
  remove(id: string): Promise<void>;
  setTags(id: string, tags: KeyValue[]): Promise<LoggedModel>;
  deleteTag(id: string, key: string): Promise<void>;
  addParams(id: string, params: KeyValue[]): Promise<void>;
}

export interface NewModelVersion {
  name: string;
  source: string;
  runId: string | null;
  runLink: string | null;
  modelId: string | null;
  description: string | null;
  userId: string;
  tags: KeyValue[];
}

export interface Transition {
  name: string;
  version: number;
  stage: Stage;
  /** Moves the versions that hold the stage now to Archived. */
  archiveExisting: boolean;
  who: string;
  comment: string | null;
  gates: GateResult[];
  /**
   * The version in Production that the gates were compared with. If another one is there by now,
   * nothing changes and the result is undefined, so that the caller can ask the gates again.
   */
  expectedProduction?: number | null;
}

export interface RegistryStore {
  createModel(model: { name: string; description: string | null; tags: KeyValue[] }): Promise<RegisteredModel>;
  getModel(name: string): Promise<RegisteredModel>;
  searchModels(search: Search): Promise<Found<RegisteredModel>>;
  renameModel(name: string, newName: string): Promise<RegisteredModel>;
  describeModel(name: string, description: string | null): Promise<RegisteredModel>;
  deleteModel(name: string, who: string): Promise<void>;
  setModelTag(name: string, tag: KeyValue): Promise<void>;
  deleteModelTag(name: string, key: string): Promise<void>;
  /** The newest version of each stage. */
  latestVersions(name: string): Promise<ModelVersion[]>;

  createVersion(version: NewModelVersion): Promise<ModelVersion>;
  getVersion(name: string, version: number): Promise<ModelVersion>;
  searchVersions(search: Search): Promise<Found<ModelVersion>>;
  describeVersion(name: string, version: number, description: string | null): Promise<ModelVersion>;
  deleteVersion(name: string, version: number, who: string): Promise<void>;
  setVersionTag(name: string, version: number, tag: KeyValue): Promise<void>;
  deleteVersionTag(name: string, version: number, key: string): Promise<void>;
  transition(transition: Transition): Promise<ModelVersion | undefined>;

  setAlias(name: string, alias: Alias): Promise<void>;
  deleteAlias(name: string, alias: string): Promise<void>;
  getByAlias(name: string, alias: string): Promise<ModelVersion>;

  gates(name: string): Promise<Gate[]>;
  setGates(name: string, gates: Gate[]): Promise<void>;
  /** Every change of stage, the newest first. */
  history(name: string): Promise<StageChange[]>;
  statements(name: string, version: number): Promise<CardStatement[]>;
  /** Stores what a person said in a card; an empty value takes it back. */
  setStatements(name: string, version: number, statements: CardStatement[]): Promise<void>;
}

export interface ArtifactIndex {
  record(file: ArtifactRecord): Promise<void>;
  find(path: string): Promise<ArtifactRecord | undefined>;
  /** Files of this content, the newest first, at most eight: any of them will do to copy from. */
  withDigest(sha256: string, size: number): Promise<ArtifactRecord[]>;
  /** Forgets a file, or a folder with all that lies in it. */
  remove(path: string): Promise<void>;
}

/** What was deleted and can be taken away for good. Times are milliseconds since 1970. */
export interface GarbageStore {
  /** Runs deleted before a time, and whether a registered model was made by them. */
  deletedRuns(before: number): Promise<{ id: string; name: string; artifactUri: string; registered: boolean }[]>;
  deletedModels(before: number): Promise<{ id: string; artifactUri: string }[]>;
  /** Removes a deleted run with all that hangs on it. */
  removeRun(id: string): Promise<void>;
  removeModel(id: string): Promise<void>;
  /** Removes deleted experiments that hold nothing any more; gives their ids. */
  removeEmptyExperiments(before: number): Promise<string[]>;
  /** Gives free space back to the file system. */
  compact(): Promise<void>;
}

/** Who may do what, and who did. */
export interface AccessStore {
  users(): Promise<User[]>;
  user(name: string): Promise<User>;
  /** The user whom an identity provider knows by this subject. */
  userBySubject(subject: string): Promise<User | undefined>;
  createUser(user: { name: string; role: Role; subject?: string }): Promise<User>;
  updateUser(name: string, change: { role?: Role; disabled?: boolean; subject?: string }): Promise<User>;
  /** Removes a user with tokens and grants; what was logged stays under the name. */
  deleteUser(name: string): Promise<void>;

  createToken(token: {
    user: string;
    label: string;
    scope: Scope;
    session: boolean;
    /** SHA-256 of the token; the token itself is kept nowhere. */
    hash: string;
    expiresAt: number | null;
  }): Promise<Token>;
  tokens(user?: string): Promise<Token[]>;
  /** The token with this hash, whose it is, and what was granted to them; undefined where there is none. */
  findToken(hash: string): Promise<{ token: Token; user: User; grants: Grant[] } | undefined>;
  touchToken(id: string): Promise<void>;
  deleteToken(id: string, user?: string): Promise<void>;

  grants(of?: { user?: string; kind?: GrantKind; target?: string }): Promise<Grant[]>;
  setGrant(grant: Grant): Promise<void>;
  deleteGrant(grant: Omit<Grant, "role">): Promise<void>;

  record(entry: Omit<AuditEntry, "id">): Promise<void>;
  /** The newest first. */
  audit(page: { who?: string; target?: string; before?: number; limit: number }): Promise<AuditEntry[]>;
}

export interface NewWebhook {
  name: string;
  description: string | null;
  url: string;
  /** Signs what is delivered; told to nobody again. */
  secret: string | null;
  events: WebhookEvent[];
  active: boolean;
}

export interface WebhookStore {
  create(webhook: NewWebhook): Promise<Webhook>;
  get(id: string): Promise<Webhook>;
  list(page: Page): Promise<Found<Webhook>>;
  update(id: string, change: Partial<NewWebhook>): Promise<Webhook>;
  remove(id: string): Promise<void>;
  /** The active ones that want an event, with their secrets. */
  wanting(event: WebhookEvent): Promise<{ webhook: Webhook; secret: string | null }[]>;
  secret(id: string): Promise<string | null>;
  delivered(id: string, last: NonNullable<Webhook["last"]>): Promise<void>;
}

export type NewTrace = Omit<Trace, "assessments">;

export interface TraceStore {
  /** Stores a trace, or what is known of it by now; tags and metadata are added to those that are there. */
  put(trace: NewTrace): Promise<Trace>;
  /** Stores spans, and a trace for them where there is none. Spans that are there already are replaced. */
  logSpans(experimentId: string, spans: Span[]): Promise<Trace[]>;
  get(id: string): Promise<Trace>;
  /** In the order in which they began. */
  spans(id: string): Promise<Span[]>;
  search(search: Search & { experimentIds: string[] }): Promise<Found<Trace>>;
  setTag(id: string, tag: KeyValue): Promise<void>;
  deleteTag(id: string, key: string): Promise<void>;
  /** Stores an assessment under its `assessment_id`; undefined removes it. */
  assess(id: string, assessmentId: string, assessment: Record<string, unknown> | undefined): Promise<void>;
  linkToRun(ids: string[], runId: string): Promise<void>;
  /** Removes traces by their ids, or the oldest up to a time. @returns the ids of those that were there */
  remove(experimentId: string, which: { ids: string[] } | { until: number; limit: number }): Promise<string[]>;
}

export interface Store {
  experiments: ExperimentStore;
  runs: RunStore;
  metrics: MetricStore;
  loggedModels: LoggedModelStore;
  registry: RegistryStore;
  artifacts: ArtifactIndex;
  garbage: GarbageStore;
  access: AccessStore;
  webhooks: WebhookStore;
  traces: TraceStore;
  close(): Promise<void>;
}
