import type { FilesOf, Source, SourceModel, SourceRegisteredModel, SourceRun, SourceVersion } from "./source.ts";
import { digestOf, type Placed, type Target } from "./target.ts";

/** The result of a transfer. */
export interface TransferReport {
  experiments: number;
  /** Runs that were read. */
  runs: number;
  /** The runs that were transferred earlier and are unchanged. */
  unchanged: number;
  points: number;
  files: number;
  /** Of the files. */
  bytes: number;
  loggedModels: number;
  registeredModels: number;
  versions: number;
  /** The objects that could not be transferred, each with the reason. */
  problems: string[];
}

export const emptyReport = (): TransferReport => ({
  experiments: 0,
  runs: 0,
  unchanged: 0,
  points: 0,
  files: 0,
  bytes: 0,
  loggedModels: 0,
  registeredModels: 0,
  versions: 0,
  problems: [],
});

/**
 * Copies all that a tracker holds to another. Done again it adds nothing twice, and where it was interrupted it goes on:
 * runs and models carry the id that they had, and a mark once all of theirs is there.
 * @param report updated during the transfer
 */
export async function transfer(
  source: Source,
  target: Target,
  report: TransferReport,
  onProgress: (report: TransferReport) => void,
): Promise<void> {
  const runs = new Map<string, { from: string; to: Placed }>();
  const models = new Map<string, { from: string; to: Placed }>();
  const there = await target.experiments();
  const told = () => onProgress(report);

  /** Files that are not there yet; whether all are, in the end. */
  const copyFiles = async (what: string, from: FilesOf, to: Placed, isNew: boolean): Promise<boolean> => {
    try {
      const have = isNew ? new Map<string, number>() : await target.files(to.artifactUri);
      if (have === undefined || !to.artifactUri.startsWith("mlflow-artifacts:")) {
        throw new Error(`the target keeps its files at ${to.artifactUri}, out of its own hands`);
      }
      for await (const file of source.files(from)) {
        if (have.get(file.path) === file.size) continue;
        await target.upload(to.artifactUri, file);
        report.files++;
        report.bytes += file.size;
        told();
      }
      return true;
    } catch (error) {
      report.problems.push(`files of ${what}: ${error instanceof Error ? error.message : String(error)}`);
      return false;
    }
  };

  const copyRun = async (
    experimentId: string,
    run: SourceRun,
    known: Placed | undefined,
  ): Promise<() => Promise<void>> => {
    report.runs++;
    told();
    if (known && known.complete === digestOf(run) && known.deleted === run.deleted) {
      report.unchanged++;
      runs.set(run.id, { from: run.artifactUri, to: known });
      return async () => {};
    }
    if (known?.deleted) await target.setRunDeleted(known.id, false);
    const placed = known ?? (await target.createRun(experimentId, run));
    runs.set(run.id, { from: run.artifactUri, to: placed });
    await target.describeRun(placed.id, run);
    report.points += await target.logHistory(placed.id, run, source);
    told();
    const complete = await copyFiles(
      `run ${run.id}`,
      { artifactUri: run.artifactUri, id: run.id, runId: run.id },
      placed,
      !known,
    );
    return () => target.finishRun(placed, run, (id) => models.get(id)?.to.id, complete);
  };

  const copyModel = async (experimentId: string, model: SourceModel, known: Placed | undefined): Promise<void> => {
    report.loggedModels++;
    told();
    const runOf = (id: string) => runs.get(id)?.to.id;
    const placed =
      known ??
      (await target.createModel(experimentId, model, model.sourceRunId ? runOf(model.sourceRunId) : undefined));
    models.set(model.id, { from: model.artifactUri, to: placed });
    if (placed.complete === digestOf(model)) return;
    const complete = await copyFiles(
      `model ${model.id}`,
      { artifactUri: model.artifactUri, id: model.id },
      placed,
      !known,
    );
    await target.finishModel(placed, model, runOf, complete);
  };

  for await (const experiment of source.experiments()) {
    const known = there.get(experiment.name);
    const id = known?.id ?? (await target.createExperiment(experiment.name));
    if (known?.deleted) await target.setExperimentDeleted(id, false);
    await target.tagExperiment(id, experiment.tags);
    report.experiments++;
    told();
    const before = known ? await target.runs(id) : new Map<string, Placed>();
    const endings: (() => Promise<void>)[] = [];
    for await (const run of source.runs(experiment.id)) {
      try {
        endings.push(await copyRun(id, run, before.get(run.id)));
      } catch (error) {
        report.problems.push(refused(`run ${run.id}`, error));
      }
    }
    const modelsBefore = known ? await target.loggedModels(id) : new Map<string, Placed>();
    for await (const model of source.loggedModels(experiment.id)) {
      try {
        await copyModel(id, model, modelsBefore.get(model.id));
      } catch (error) {
        report.problems.push(refused(`logged model ${model.id}`, error));
      }
    }
    // Models are made by runs and used by others, so that runs are only ended when the models are there.
    for (const end of endings) await end();
    if (experiment.deleted) await target.setExperimentDeleted(id, true);
  }

  const place = (version: SourceVersion): SourceVersion => {
    const run = version.runId ? runs.get(version.runId)?.to.id : undefined;
    const model = version.modelId ? models.get(version.modelId)?.to.id : undefined;
    return { ...version, source: moved(version.source, runs, models), runId: run, modelId: model };
  };
  for await (const model of source.registeredModels()) {
    report.registeredModels++;
    await copyRegistered(target, model, place, report);
    told();
  }
}

async function copyRegistered(
  target: Target,
  model: SourceRegisteredModel,
  place: (version: SourceVersion) => SourceVersion,
  report: TransferReport,
): Promise<void> {
  const { name } = model;
  try {
    await target.registerModel(model);
    const there = new Map((await target.versions(name)).map((it) => [it.version, it]));
    let last = Math.max(0, ...there.keys());
    for (const version of model.versions) {
      let known = there.get(version.version);
      // Numbers are given in order: where some were deleted, others take their place for as long.
      const fillers: number[] = [];
      let problem: string | undefined;
      try {
        while (!known && last < version.version) {
          const isIt = last + 1 === version.version;
          const made = isIt ? place(version) : { ...place(version), description: undefined, tags: [] };
          last = await target.createVersion(name, made);
          if (isIt || last === version.version) known = { ...version, stage: "None" };
          else fillers.push(last);
        }
      } catch (error) {
        // Such as files at a location that the target does not allow. The next version takes its place as a filler.
        problem = refused(`version ${version.version} of ${name}`, error);
      }
      for (const filler of fillers) await target.deleteVersion(name, filler);
      if (problem !== undefined) {
        report.problems.push(problem);
        continue;
      }
      if (!known) {
        report.problems.push(`version ${version.version} of ${name}: the target has later ones already`);
        continue;
      }
      report.versions++;
      if (known.stage !== version.stage) await target.setStage(name, version.version, version.stage);
    }
    for (const { alias, version } of model.aliases) await target.setAlias(name, alias, version);
  } catch (error) {
    report.problems.push(refused(`registered model ${name}`, error));
  }
}

/** A reason for the report; what may succeed later ends the transfer instead, to be done again. */
function refused(what: string, error: unknown): string {
  if (error instanceof Error && "status" in error && typeof error.status === "number" && error.status < 500) {
    return `${what}: ${error.message}`;
  }
  throw error;
}

/** Where a version's files are now: in the folder of its run or model, which has moved, or where they were. */
function moved(
  source: string,
  runs: Map<string, { from: string; to: Placed }>,
  models: Map<string, { from: string; to: Placed }>,
): string {
  const [, scheme, id = "", rest = ""] = /^(runs|models):\/([^/]+)(.*)$/.exec(source) ?? [];
  if (scheme === "runs") return `runs:/${runs.get(id)?.to.id ?? id}${rest}`;
  if (scheme === "models") return `models:/${models.get(id)?.to.id ?? id}${rest}`;
  for (const { from, to } of [...models.values(), ...runs.values()]) {
    const folder = from.replace(/\/+$/, "");
    if (source === folder || source.startsWith(`${folder}/`))
      return to.artifactUri.replace(/\/+$/, "") + source.slice(folder.length);
  }
  return source;
}
