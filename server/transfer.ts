import type { TrackerClient } from "../src/track/client.ts";
import { exportMlflow, importMlflow, type TransferReport } from "../tracker/index.ts";
import { UsageError } from "./errors.ts";
import { withTracker } from "./run.ts";

/** Options of {@link transferMlflow}. */
export interface TransferCommand {
  direction: "import" | "export";
  /** Address of an MLflow server; for an import also of its database. */
  uri: string;
  /** The folder of our tracker, which is started for as long as it takes where it does not run. */
  dataDir: string;
  /** Where that tracker keeps what is not in the folder. */
  places: { store?: string; artifacts?: string };
  /** For an import from a database: the folder or s3:// address that `mlflow-artifacts:/` stands for there. */
  artifactRoot?: string;
}

/**
 * `anneal import mlflow <uri>` and `anneal export mlflow <uri>`: between an MLflow server and the tracker of a data folder.
 * The other side's token is taken from MLFLOW_TRACKING_TOKEN, or its user and password from the address.
 * @throws UsageError for an address that cannot be one
 */
export async function transferMlflow(command: TransferCommand): Promise<TransferReport> {
  const { direction, uri, dataDir, places, artifactRoot } = command;
  const database = /^(sqlite|postgres(ql)?)(\+\w+)?:/i.test(uri);
  if (!/^https?:\/\//i.test(uri) && !(database && direction === "import")) {
    throw new UsageError(
      direction === "import"
        ? `${uri} is no address of MLflow. Write http://host:5000, or its database: sqlite:///mlflow.db, postgresql://user@host/name.`
        : `${uri} is no address of an MLflow server. Write http://host:5000.`,
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
    // A server that does not answer, a database that is none: what it says is all there is to know.
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  } finally {
    progress.end();
  }
}

/** A line that is written over as long as things come over; nothing where nobody looks. */
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

/** The report for people. */
export function showTransfer(report: TransferReport): string {
  const { unchanged, problems } = report;
  const lines = [counts(report)];
  if (unchanged > 0) lines.push(`${unchanged} runs had come over before and have not changed.`);
  if (problems.length > 0) {
    lines.push(`${problems.length} things could not come over:`, ...problems.slice(0, 50).map((it) => `  ${it}`));
    if (problems.length > 50) lines.push(`  and ${problems.length - 50} more`);
  }
  return lines.join("\n");
}
