import type { Readable } from "node:stream";
import type { KeyValue } from "../store/types.ts";

/*
 * The data read from a source tracker, over REST or from its database. Names and shapes are MLflow's; times are milliseconds
 * since 1970.
 */

export interface SourceExperiment {
  id: string;
  name: string;
  deleted: boolean;
  tags: KeyValue[];
}

export interface SourceDataset {
  name: string;
  digest: string;
  source_type: string;
  source: string;
  schema?: string;
  profile?: string;
}

export interface SourceRun {
  id: string;
  name: string;
  userId: string;
  status: string;
  startTime: number;
  endTime: number | undefined;
  deleted: boolean;
  artifactUri: string;
  params: KeyValue[];
  tags: KeyValue[];
  /** The latest point of each metric: which there are, and whether one was added. */
  metrics: SourcePoint[];
  datasets: { dataset: SourceDataset; tags: KeyValue[] }[];
  /** Ids of logged models. */
  inputModels: string[];
  outputModels: { modelId: string; step: number }[];
}

/** A metric value in JSON: non-finite numbers are written by name. */
export interface SourcePoint {
  key: string;
  value: number | string;
  timestamp: number;
  step: number;
}

export interface SourceModel {
  id: string;
  name: string;
  modelType: string | undefined;
  sourceRunId: string | undefined;
  /** As LOGGED_MODEL_READY. */
  status: string;
  artifactUri: string;
  tags: KeyValue[];
  params: KeyValue[];
  metrics: (SourcePoint & { runId: string | undefined; datasetName?: string; datasetDigest?: string })[];
}

export interface SourceVersion {
  version: number;
  source: string;
  runId: string | undefined;
  runLink: string | undefined;
  modelId: string | undefined;
  description: string | undefined;
  stage: string;
  tags: KeyValue[];
}

export interface SourceRegisteredModel {
  name: string;
  description: string | undefined;
  tags: KeyValue[];
  aliases: { alias: string; version: number }[];
  /** By number, without deleted versions. */
  versions: SourceVersion[];
}

export interface SourceFile {
  /** From the folder on that was asked for. */
  path: string;
  /** Bytes. */
  size: number;
  open(): Promise<Readable>;
}

/** Where the files of a run or logged model are. */
export interface FilesOf {
  artifactUri: string;
  /** The id of the run or logged model. */
  id: string;
  /** The same, for a run. */
  runId?: string;
}

/** A source tracker. It is only read. */
export interface Source {
  experiments(): AsyncIterable<SourceExperiment>;
  runs(experimentId: string): AsyncIterable<SourceRun>;
  /** All points of a metric, in pages. */
  history(runId: string, key: string): AsyncIterable<SourcePoint[]>;
  loggedModels(experimentId: string): AsyncIterable<SourceModel>;
  registeredModels(): AsyncIterable<SourceRegisteredModel>;
  /** The files of a run or logged model. @throws if they cannot be reached */
  files(of: FilesOf): AsyncIterable<SourceFile>;
  close(): Promise<void>;
}
