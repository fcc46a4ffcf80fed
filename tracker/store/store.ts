import type { Clause, DatasetName, OrderClause } from "./filter.ts";
import type {
  Alias,
  ArtifactRecord,
  AuditEntry,
  CardStatement,
  Dataset,
  DatasetInput,
  EvaluationDataset,
  EvaluationRecord,
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
  NewEvaluationRecord,
  RegisteredModel,
  Rewind,
  Role,
  Run,
  RunData,
  RunMetric,
  RunStatus,
  Scope,
  Scorer,
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
 * The interface of the tracker's database. Each function is atomic. All return promises, although SQLite is synchronous.
 * A function throws RESOURCE_DOES_NOT_EXIST for an id that does not exist.
 */

export interface Page {
  offset: number;
  limit: number;
}

/** A position in an order: the values that a row is sorted by. */
export type Position = readonly (string | number | null)[];

export interface Search {
  filter: Clause[];
  order: OrderClause[];
  limit: number;
  /** Rows to skip; 0 by default. */
  offset?: number;
  /** The position after which the page starts. */
  after?: Position;
}

/** A page of results, and the position of the last one if others follow. */
export interface SearchPage<T> {
  items: T[];
  next?: Position;
}

export interface ExperimentStore {
  create(experiment: { name: string; artifactLocation?: string; tags: KeyValue[] }): Promise<Experiment>;
  get(id: string): Promise<Experiment>;
  getByName(name: string): Promise<Experiment>;
  search(search: Search & { view: ViewType }): Promise<SearchPage<Experiment>>;
  rename(id: string, name: string): Promise<void>;
  /** Sets the lifecycle stage of an experiment and its runs. */
  setLifecycle(id: string, lifecycle: Lifecycle): Promise<void>;
  setTag(id: string, tag: KeyValue): Promise<void>;
  deleteTag(id: string, key: string): Promise<void>;
  /** Returns the number of active runs of each experiment. */
  runCounts(): Promise<Map<string, number>>;
  /** Returns the keys of metrics and params of the experiments' active runs, the most used first. */
  keys(ids: string[]): Promise<{ metrics: string[]; params: string[] }>;
}

export interface NewRun {
  experimentId: string;
  name: string;
  userId: string;
  startTime: number;
  tags: KeyValue[];
  /** If the experiment has a run with this client id, it is returned instead of creating one. */
  clientId?: string;
}

export interface RunSearch extends Search {
  experimentIds: string[];
  view: ViewType;
}

/** A row of the table of runs: the run, with only the requested metrics, params and tags. */
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
  search(search: RunSearch): Promise<SearchPage<RunData>>;
  table(
    search: RunSearch & { metrics: string[]; params: string[]; tags: string[] },
  ): Promise<{ rows: RunRow[]; total: number }>;
  /** Changes a run. The status RUNNING removes the end time. */
  update(id: string, change: { status?: RunStatus; endTime?: number; name?: string }): Promise<Run>;
  /** Records that a run's process is alive. A run that was marked as lost is running again. */
  beat(id: string, now: number): Promise<{ run: Run; revived: boolean }>;
  /**
   * Marks running runs as failed whose last heartbeat was before a time. They ended with that heartbeat. Runs without
   * heartbeats are left as they are.
   */
  lose(before: number): Promise<Run[]>;
  /** Takes back the points after a step. They are kept with the rewind. */
  rewind(id: string, rewind: Omit<Rewind, "points">): Promise<Run>;
  /** Returns a run's rewinds, newest first. */
  rewinds(id: string): Promise<Rewind[]>;
  /** Returns the points that a rewind took back. */
  rewound(id: string, rewind: string, limit: number): Promise<Metric[]>;
  setLifecycle(id: string, lifecycle: Lifecycle): Promise<Run>;
  /** Logs a batch completely or, on an error, not at all. Points that are already stored are skipped. */
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

/** The last point of a page of a history. */
export interface HistoryMark {
  step: number;
  timestamp: number;
  isNan: number;
  value: number;
}

export interface MetricStore {
  /**
   * Returns a page of a metric's points in the order of their steps, and the mark after which the next page starts. The
   * points are JSON objects `{"key", "value", "timestamp", "step"}` joined by commas, as the database writes them: parsing
   * and serializing a long history takes several times as long as reading it.
   */
  history(
    runId: string,
    key: string,
    page: { after?: HistoryMark; limit: number },
  ): Promise<{ json: string; next?: HistoryMark }>;
  /** Returns the points of one metric of several runs. */
  bulk(runIds: string[], key: string, limit: number): Promise<RunMetric[]>;
  /**
   * Returns points of some steps from `start` (0 by default) to `end`, as MLflow chooses them: about `count` steps that the
   * runs have, spread evenly, and the first and last of each run. Of very long series, at most `count` points per run.
   */
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
  /** @param search.datasets only models with a metric on one of these data sets */
  search(search: Search & { experimentIds: string[]; datasets?: DatasetName[] }): Promise<SearchPage<LoggedModel>>;
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
  /** As in {@link ModelVersion}. */
  root: string | null;
  originRun: string | null;
  /** As in {@link ModelVersion}. */
  location: string | null;
  /** All files of the version. */
  files: VersionFile[];
}

/** A file of a version, as it was when the version was registered. */
export interface VersionFile {
  /** Relative to the version's root; empty if the root is a file. */
  path: string;
  /** Bytes. */
  size: number;
  sha256: string;
}

/** Names a version. */
export interface VersionName {
  name: string;
  version: number;
}

export interface Transition {
  name: string;
  version: number;
  stage: Stage;
  /** Moves the other versions in the stage to Archived. */
  archiveExisting: boolean;
  who: string;
  comment: string | null;
  gates: GateResult[];
  /**
   * Required to reach Production. If it is no longer so, nothing is done and the result is undefined, so that the caller
   * can evaluate the gates again.
   */
  judged?: Judged;
}

/** What a version was judged by. */
export interface Judged {
  /** The version in Production that it was compared with. */
  production: number | null;
  gates: Gate[];
}

export interface RegistryStore {
  createModel(model: { name: string; description: string | null; tags: KeyValue[] }): Promise<RegisteredModel>;
  getModel(name: string): Promise<RegisteredModel>;
  searchModels(search: Search): Promise<SearchPage<RegisteredModel>>;
  renameModel(name: string, newName: string): Promise<RegisteredModel>;
  describeModel(name: string, description: string | null): Promise<RegisteredModel>;
  deleteModel(name: string, who: string): Promise<void>;
  setModelTag(name: string, tag: KeyValue): Promise<void>;
  deleteModelTag(name: string, key: string): Promise<void>;
  /** Returns the newest version in each stage. */
  latestVersions(name: string): Promise<ModelVersion[]>;

  createVersion(version: NewModelVersion): Promise<ModelVersion>;
  getVersion(name: string, version: number): Promise<ModelVersion>;
  searchVersions(search: Search): Promise<SearchPage<ModelVersion>>;
  describeVersion(name: string, version: number, description: string | null): Promise<ModelVersion>;
  deleteVersion(name: string, version: number, who: string): Promise<void>;
  setVersionTag(name: string, version: number, tag: KeyValue): Promise<void>;
  deleteVersionTag(name: string, version: number, key: string): Promise<void>;
  transition(transition: Transition): Promise<ModelVersion | undefined>;
  /** Whether the folders of runs or logged models lie in a folder. */
  hasRuns(folder: string): Promise<boolean>;
  /** Returns the recorded files, by path; or only the one with a path. */
  files(name: string, version: number, path?: string): Promise<VersionFile[]>;
  /** Returns the version that gates compare another one with: in Production, or else with a guarded alias. */
  production(name: string, except: number): Promise<ModelVersion | undefined>;

  /**
   * Sets an alias.
   * @param judged required for a guarded alias: as in {@link Transition}
   * @returns false if nothing was done, because it is no longer so
   */
  setAlias(name: string, alias: Alias, judged?: Judged): Promise<boolean>;
  deleteAlias(name: string, alias: string): Promise<void>;
  /** Returns the version with an alias; with the reserved alias `latest`, the newest one. */
  getByAlias(name: string, alias: string): Promise<ModelVersion>;

  gates(name: string): Promise<Gate[]>;
  setGates(name: string, gates: Gate[]): Promise<void>;
  /** Returns all stage changes, the newest first. */
  history(name: string): Promise<StageChange[]>;
  statements(name: string, version: number): Promise<CardStatement[]>;
  /** Stores statements of a model card; an empty value removes one. */
  setStatements(name: string, version: number, statements: CardStatement[]): Promise<void>;
}

/** The files of registered versions, for all versions. Not available to requests. */
export interface RegisteredStore {
  /** Returns the versions whose files lie at a path, in it, or around it. */
  holders(path: string): Promise<VersionName[]>;
  /** Returns the record of a file that belongs to a version, by its path below the artifact root. */
  file(path: string): Promise<(VersionName & VersionFile) | undefined>;
  /** Returns the recorded locations outside the tracker's own store. */
  locations(): Promise<{ what: string; uri: string }[]>;
  /** Returns the versions of earlier releases, whose files are not recorded yet. */
  unsealed(): Promise<ModelVersion[]>;
  /** Records the files of such a version. */
  seal(version: VersionName, facts: Pick<NewModelVersion, "root" | "originRun" | "files">): Promise<void>;
}

export interface ArtifactIndex {
  record(file: ArtifactRecord): Promise<void>;
  find(path: string): Promise<ArtifactRecord | undefined>;
  /** Returns up to eight files with this content, the newest first. */
  withDigest(sha256: string, size: number): Promise<ArtifactRecord[]>;
  /** Removes a file or a folder from the index. */
  remove(path: string): Promise<void>;
}

/** The permanent removal of deleted objects. Times are milliseconds since 1970. */
export interface GarbageStore {
  /** Returns the runs deleted before a time; `registered` if a registered model came from one. */
  deletedRuns(before: number): Promise<{ id: string; name: string; artifactUri: string; registered: boolean }[]>;
  deletedModels(before: number): Promise<{ id: string; name: string; artifactUri: string }[]>;
  /** Removes a deleted run with all its data. */
  removeRun(id: string): Promise<void>;
  removeModel(id: string): Promise<void>;
  /** Removes empty deleted experiments. @returns their ids */
  removeEmptyExperiments(before: number): Promise<string[]>;
  /** Returns free space to the file system. */
  compact(): Promise<void>;
}

/** Users, tokens, grants and the audit log. */
export interface AccessStore {
  users(): Promise<User[]>;
  user(name: string): Promise<User>;
  /** Returns the user with this subject at the identity provider. */
  userBySubject(subject: string): Promise<User | undefined>;
  createUser(user: { name: string; role: Role; subject?: string }): Promise<User>;
  updateUser(name: string, change: { role?: Role; disabled?: boolean; subject?: string }): Promise<User>;
  /** Removes a user with their tokens and grants. Entries of the audit log stay. */
  deleteUser(name: string): Promise<void>;

  createToken(token: {
    user: string;
    label: string;
    scope: Scope;
    session: boolean;
    /** The SHA-256 of the token. The token itself is not stored. */
    hash: string;
    expiresAt: number | null;
  }): Promise<Token>;
  tokens(user?: string): Promise<Token[]>;
  /** Returns the token with this hash, its user and their grants. */
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
  /** Signs deliveries. Never returned by the API. */
  secret: string | null;
  events: WebhookEvent[];
  active: boolean;
}

export interface WebhookStore {
  create(webhook: NewWebhook): Promise<Webhook>;
  get(id: string): Promise<Webhook>;
  list(page: Page): Promise<{ items: Webhook[]; more: boolean }>;
  update(id: string, change: Partial<NewWebhook>): Promise<Webhook>;
  remove(id: string): Promise<void>;
  /** Returns the active webhooks for an event. `readSecret` fails if the key of the secrets is another one now. */
  activeFor(event: WebhookEvent): Promise<{ webhook: Webhook; readSecret: () => string | null }[]>;
  secretOf(id: string): Promise<() => string | null>;
  delivered(id: string, last: NonNullable<Webhook["last"]>): Promise<void>;
}

export type NewTrace = Omit<Trace, "assessments">;

export interface TraceStore {
  /** Creates or updates a trace. Tags and metadata are merged with the stored ones. */
  put(trace: NewTrace): Promise<Trace>;
  /** Stores spans, replacing those with the same id, and creates missing traces. */
  logSpans(experimentId: string, spans: Span[]): Promise<Trace[]>;
  get(id: string): Promise<Trace>;
  /** Returns the spans of a trace, by start time. */
  spans(id: string): Promise<Span[]>;
  search(search: Search & { experimentIds: string[] }): Promise<SearchPage<Trace>>;
  /** Returns the number of traces that match. */
  count(search: { experimentIds: string[]; filter: Clause[] }): Promise<number>;
  setTag(id: string, tag: KeyValue): Promise<void>;
  deleteTag(id: string, key: string): Promise<void>;
  /** Stores assessments by their `assessment_id`; undefined removes one. */
  assess(id: string, assessments: Readonly<Record<string, Record<string, unknown> | undefined>>): Promise<void>;
  linkToRun(ids: string[], runId: string): Promise<void>;
  /** Removes traces by id, or the oldest up to a time. @returns the ids of the removed traces */
  remove(experimentId: string, which: { ids: string[] } | { until: number; limit: number }): Promise<string[]>;
}

/** Data sets for evaluation. `who` is the user who changes one. */
export interface EvaluationDatasetStore {
  create(dataset: { name: string; tags: KeyValue[]; experimentIds: string[]; who: string }): Promise<EvaluationDataset>;
  get(id: string): Promise<EvaluationDataset>;
  /**
   * @param search.experimentIds only data sets of one of these experiments
   * @param search.except no data sets that are only of these experiments
   */
  search(search: Search & { experimentIds?: string[]; except?: string[] }): Promise<SearchPage<EvaluationDataset>>;
  remove(id: string): Promise<void>;
  setTags(id: string, tags: KeyValue[], who: string): Promise<EvaluationDataset>;
  deleteTag(id: string, key: string, who: string): Promise<void>;
  addExperiments(id: string, experimentIds: string[], who: string): Promise<EvaluationDataset>;
  removeExperiments(id: string, experimentIds: string[], who: string): Promise<EvaluationDataset>;
  /**
   * Adds records. One with the inputs of a stored one is merged into it.
   * @param change.describe returns the new schema, from the stored one
   */
  upsert(
    id: string,
    records: NewEvaluationRecord[],
    change: { who: string; describe: (schema: string | null) => string },
  ): Promise<{ inserted: number; updated: number }>;
  /** The oldest first. */
  records(id: string, page: { after?: Position; limit: number }): Promise<SearchPage<EvaluationRecord>>;
  /** @returns the number of removed records */
  removeRecords(id: string, recordIds: string[], who: string): Promise<number>;
}

/** Scorers of experiments. Without a version, the newest one is meant; for `remove`, all are. */
export interface ScorerStore {
  register(scorer: { experimentId: string; name: string; serialized: string }): Promise<Scorer>;
  /** Returns the newest version of each scorer. */
  list(experimentId: string): Promise<Scorer[]>;
  versions(experimentId: string, name: string): Promise<Scorer[]>;
  get(experimentId: string, name: string, version?: number): Promise<Scorer>;
  remove(experimentId: string, name: string, version?: number): Promise<void>;
}

export interface Store {
  evaluationDatasets: EvaluationDatasetStore;
  scorers: ScorerStore;
  experiments: ExperimentStore;
  runs: RunStore;
  metrics: MetricStore;
  loggedModels: LoggedModelStore;
  registry: RegistryStore;
  registered: RegisteredStore;
  artifacts: ArtifactIndex;
  garbage: GarbageStore;
  access: AccessStore;
  webhooks: WebhookStore;
  traces: TraceStore;
  close(): Promise<void>;
}
