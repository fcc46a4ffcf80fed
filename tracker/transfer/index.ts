import { isDatabase, openReader } from "./database.ts";
import { databaseSource } from "./database-source.ts";
import { type Address, Rest } from "./rest.ts";
import { restSource } from "./rest-source.ts";
import type { Source } from "./source.ts";
import { Target } from "./target.ts";
import { emptyReport, type TransferReport, transfer } from "./transfer.ts";

export type { Address } from "./rest.ts";
export type { TransferReport } from "./transfer.ts";

export interface TransferOptions {
  /** Called frequently with the progress. */
  onProgress?: (report: TransferReport) => void;
  /** For a database: the location of `mlflow-artifacts:/`, a folder or s3://bucket/prefix. */
  artifactRoot?: string;
}

/**
 * Transfers the content of an MLflow server to a tracker: experiments, runs with their complete histories, data sets,
 * files, logged models, and the registry. Can be repeated, and resumes an interrupted transfer.
 * @param source address of a server, or of its database: sqlite:///file or postgresql://user:password@host/name. Only read.
 * @throws an Error if either side does not respond; rejected objects are listed in the report
 */
export async function importMlflow(
  source: Address,
  target: Address,
  { onProgress = () => {}, artifactRoot }: TransferOptions = {},
): Promise<TransferReport> {
  const report = emptyReport();
  const problem = (what: string, error: unknown): void => {
    report.problems.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  };
  const from: Source = isDatabase(source.uri)
    ? await databaseSource(await openReader(source.uri), artifactRoot)
    : restSource(new Rest(source));
  try {
    await transfer(from, new Target(new Rest(target), problem), report, onProgress);
  } finally {
    await from.close();
  }
  return report;
}

/** Transfers the content of a tracker to an MLflow server or another tracker. */
export const exportMlflow = (
  source: Address,
  target: Address,
  options: TransferOptions = {},
): Promise<TransferReport> => importMlflow(source, target, options);
