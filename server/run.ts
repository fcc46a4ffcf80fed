import { randomUUID } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { stripVTControlCharacters } from "node:util";
import type { Run } from "../src/track/api/types.ts";
import { TrackerClient } from "../src/track/client.ts";
import { UsageError } from "./errors.ts";
import {
  type Execution,
  type ExecutionListener,
  executeNotebook,
  readNotebook,
  requireSupportedLanguage,
} from "./execute.ts";
import { notebookText } from "./notebook-file.ts";
import { findRunningStudio } from "./running-studio.ts";
import { type StudioOptions, startStudio } from "./studio.ts";

/** Returns the value of a run's tag. */
export const tagOf = (run: Run, key: string): string | undefined =>
  run.data.tags?.find((tag) => tag.key === key)?.value;

/**
 * Works with the tracker of a data folder: that of the studio running on it, or a temporary one.
 * @param places database and artifacts of the temporary one, if not in the folder, and locations that it allows
 */
export async function withTracker<T>(
  dataDir: string,
  work: (client: TrackerClient) => Promise<T>,
  places: Pick<StudioOptions, "store" | "artifacts" | "allowedLocations"> = {},
): Promise<T> {
  const running = await findRunningStudio(dataDir);
  if (running) return work(new TrackerClient({ uri: running.url, token: running.token }));
  const here = { root: process.cwd(), dataDir, host: "127.0.0.1", port: 0, trackerOnly: true };
  const studio = await startStudio({ ...here, ...places });
  try {
    return await work(new TrackerClient({ uri: studio.url, token: studio.token }));
  } finally {
    await studio.close();
  }
}

/** Returns the runs of one notebook execution, in the order in which they were started. */
export async function runsOf(client: TrackerClient, executionId: string): Promise<Run[]> {
  const experiments: string[] = [];
  for await (const { experiment_id } of client.experiments.search()) experiments.push(experiment_id);
  const filter = `tags.\`anneal.execution_id\` = '${executionId}'`;
  const runs: Run[] = [];
  for await (const run of client.runs.search(experiments, { filter })) runs.push(run);
  return runs.sort((a, b) => Number(tagOf(a, "anneal.run_index")) - Number(tagOf(b, "anneal.run_index")));
}

/**
 * Returns a one-line title of a cell: its first line with words that is not an import; for a cell of imports only, the first
 * import.
 */
export function titleOf(source: string): string {
  const statement = /^[ \t]*import\b[^("'`]*(["'])[^"'\n]*\1.*$/gm;
  const lines = source.replace(statement, "").split("\n");
  const line = lines.find((text) => /[\p{L}\p{N}]/u.test(text)) ?? source.match(statement)?.[0] ?? source;
  return line
    .replace(/^\s*\/?\*+|\*+\//g, "")
    .replace(/\s+/g, " ")
    .trim()
    .slice(0, 90);
}

/** Reports a notebook's progress on a stream: its cells, their output, and training progress. */
export function reportTo(stream: NodeJS.WriteStream): ExecutionListener {
  const start = performance.now();
  let shown = 0;
  let live = false;
  const plain = (text: string) => (stream.isTTY ? text : stripVTControlCharacters(text));
  const endLine = () => {
    if (live) stream.write("\n");
    live = false;
  };
  return {
    onCell(index, total, source) {
      endLine();
      const seconds = ((performance.now() - start) / 1000).toFixed(0);
      stream.write(`[${index}/${total}] ${seconds} s  ${titleOf(source)}\n`);
    },
    onOutput(output) {
      if (output.output_type === "stream") {
        endLine();
        stream.write(plain(String(output.text)));
        return;
      }
      const data = (output.data ?? {}) as Record<string, unknown>;
      const text = data["text/plain"];
      // Charts are skipped; the status line has the same information.
      if (typeof text !== "string" || Object.keys(data).some((type) => type.includes("vega"))) return;
      // Outputs that are updated in place are updated in place on a terminal, and printed every few seconds elsewhere.
      const line = plain(text.split("\n")[0]);
      if (stream.isTTY && !text.includes("\n")) {
        stream.write(`\r\u001b[K${line.slice(0, stream.columns ?? 100)}`);
        live = true;
      } else if (text.includes("\n")) {
        endLine();
        stream.write(`${plain(text)}\n`);
      } else if (performance.now() - shown > 5000) {
        shown = performance.now();
        stream.write(`    ${line}\n`);
      }
    },
  };
}

/** Result of {@link runNotebook}. */
export interface NotebookRun extends Execution {
  /** Path of the executed notebook. */
  output: string;
  runs: { id: string; name: string; status: string }[];
}

/**
 * Executes a notebook without a browser, saves it with its outputs, and logs it to the runs that it started.
 * @param output where to save it; default: `<name>.executed.ipynb` next to the notebook
 */
export async function runNotebook(
  path: string,
  options: {
    dataDir: string;
    output?: string;
    env?: Record<string, string>;
    signal?: AbortSignal;
    listener?: ExecutionListener;
  },
): Promise<NotebookRun> {
  const absolute = resolve(path);
  const notebook = await readNotebook(absolute);
  requireSupportedLanguage(notebook, path);
  const output = resolve(options.output ?? absolute.replace(/(\.ipynb)?$/, ".executed.ipynb"));
  // Checked before the cells run, which may take minutes.
  if (statSync(output, { throwIfNoEntry: false })?.isDirectory()) {
    throw new UsageError(`${output} is a folder; pass a file name to --output.`);
  }
  await mkdir(dirname(output), { recursive: true });
  const executionId = randomUUID();
  return withTracker(options.dataDir, async (client) => {
    const execution = await executeNotebook(notebook, absolute, {
      cwd: dirname(absolute),
      env: { ...options.env, ANNEAL_DATA: resolve(options.dataDir), ANNEAL_EXECUTION_ID: executionId },
      ...(options.listener ? { listener: options.listener } : {}),
      ...(options.signal ? { signal: options.signal } : {}),
    });
    const text = notebookText(execution.notebook);
    await writeFile(output, text);
    const runs = await runsOf(client, executionId);
    for (const run of runs) await storeText(client, run, text, "notebook.executed.ipynb");
    return {
      ...execution,
      output,
      runs: runs.map(({ info }) => ({ id: info.run_id, name: info.run_name, status: info.status })),
    };
  });
}

async function storeText(client: TrackerClient, run: Run, text: string, path: string): Promise<void> {
  const file = join(tmpdir(), `anneal-${randomUUID()}-${basename(path)}`);
  await writeFile(file, text);
  try {
    await client.uploadArtifact(run.info.experiment_id, run.info.run_id, path, file);
  } finally {
    await rm(file);
  }
}

/** Returns the folder of a run's notebook, if it still exists. */
export function folderOf(run: Run): string | undefined {
  const source = tagOf(run, "mlflow.source.name");
  return source && existsSync(dirname(source)) ? dirname(source) : undefined;
}
