import type { TrackerClient } from "../src/track/client.ts";
import { exportMlflow, importMlflow, type TransferReport } from "../tracker/index.ts";
import { UsageError } from "./errors.ts";
import { withTracker } from "./run.ts";

/** Options of {@link transferMlflow}. */
export interface TransferCommand {
  direction: "import" | "export";
  /** Address of an MLflow server; for an import, also of its database. */
  uri: string;
  /** Data folder of our tracker, which is started temporarily if it is not running. */
  dataDir: string;
  /** Database and artifacts of that tracker, if not in the folder, and locations that it allows. */
  places: { store?: string; artifacts?: string; allowedLocations?: readonly string[] };
  /** For an import from a database: the folder or s3:// address of `mlflow-artifacts:/`. */
  artifactRoot?: string;
}

/**
 * Implements `anneal import mlflow <uri>` and `anneal export mlflow <uri>`, between an MLflow server and the tracker of a data
 * folder. The MLflow server's token comes from MLFLOW_TRACKING_TOKEN, or its user and password from the address.
 * @throws UsageError for an invalid address
 */
export async function transferMlflow(command: TransferCommand): Promise<TransferReport> {
  const { direction, uri, dataDir, places, artifactRoot } = command;
  const database = /^(sqlite|postgres(ql)?)(\+\w+)?:/i.test(uri);
  if (!/^https?:\/\//i.test(uri) && !(database && direction === "import")) {
    throw new UsageError(
      direction === "import"
        ? `${uri} is not an address of MLflow. Write http://host:5000, or its database: sqlite:///mlflow.db, postgresql://user@host/name.`
        : `${uri} is not an address of an MLflow server. Write http://host:5000.`,
    );
  }
  const { MLFLOW_TRACKING_TOKEN: token } = process.env;
  const other = { uri, ...(token ? { token } : {}) };
  const progress = progressLine(process.stderr);
  try {
    const transfer = async ({ address }: TrackerClient) => {
      const options = { onProgress: progress.show, ...(artifactRoot ? { artifactRoot } : {}) };
      return direction === "import" ? importMlflow(other, address, options) : exportMlflow(address, other, options);
    };
    return await withTracker(dataDir, transfer, places);
  } catch (error) {
    // The server does not respond, or the database is invalid: the message suffices.
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  } finally {
    progress.end();
  }
}

/** Returns a progress line that is updated in place on a terminal; nothing is shown elsewhere. */
function progressLine(stream: NodeJS.WriteStream): { show(report: TransferReport): void; end(): void } {
  let last = 0;
  return {
    show(report) {
      if (!stream.isTTY || Date.now() - last < 100) return;
      last = Date.now();
      stream.write(`\r\u001b[K${counts(report)}`);
    },
    end() {
      if (stream.isTTY && last > 0) stream.write("\r\u001b[K");
    },
  };
}

const counts = ({ experiments, runs, points, files, bytes, loggedModels, versions }: TransferReport): string =>
  `${experiments} experiments, ${runs} runs, ${points.toLocaleString("en")} points, ${files} files of ${(bytes / 1e6).toFixed(1)} MB, ${loggedModels} logged models, ${versions} model versions`;

/** Formats the report. */
export function showTransfer(report: TransferReport): string {
  const { unchanged, problems } = report;
  const lines = [counts(report)];
  if (unchanged > 0) lines.push(`${unchanged} runs were transferred before and have not changed.`);
  if (problems.length > 0) {
    lines.push(`${problems.length} items could not be transferred:`, ...problems.slice(0, 50).map((it) => `  ${it}`));
    if (problems.length > 50) lines.push(`  and ${problems.length - 50} more`);
  }
  return lines.join("\n");
}
