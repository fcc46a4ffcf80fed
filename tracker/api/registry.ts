import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { uriOf } from "../artifacts/locations.ts";
import { invalid } from "../errors.ts";
import { bool, limitOf, startOf, tokenOf } from "../message.ts";
import { isReference } from "../registry/origin.ts";
import { promote, setAlias } from "../registry/promote.ts";
import { isPlaceholder, isPrompt } from "../registry/prompts.ts";
import { register } from "../registry/register.ts";
import { MODEL_VERSIONS, parseFilter, parseOrder, REGISTERED_MODELS } from "../store/filter.ts";
import type { RegisteredModel, Stage } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import * as endpoints from "./endpoints/registry.ts";
import { checkAlias, checkKey, checkModelName, registryTag, truncate } from "./limits.ts";
import { route } from "./route.ts";
import * as shapes from "./shapes.ts";

const STAGES = ["None", "Staging", "Production", "Archived"] as const satisfies readonly Stage[];
/** Parses the name of a stage. As in MLflow, case does not matter. */
export function stageOf(text: string): Stage {
  const stage = STAGES.find((name) => name.toLowerCase() === text.toLowerCase());
  if (!stage) throw invalid(`Invalid Model Version stage: ${text}. Value must be one of ${STAGES.join(", ")}.`);
  return stage;
}

/** Shared by the registry's routes. */
interface Context {
  app: FastifyInstance;
  tracker: Tracker;
  /** Publishes a change of a model as an event. */
  changed: (name: string, change: "created" | "updated" | "deleted", version?: number) => void;
}

/** Versions of one response, with a token for the rest. */
const MAX_VERSIONS = 10_000;

export function registryRoutes(app: FastifyInstance, tracker: Tracker): void {
  const context: Context = {
    app,
    tracker,
    changed: (name, change, version) =>
      tracker.events.publish({ type: "model", name, change, ...(version === undefined ? {} : { version }) }),
  };
  modelRoutes(context);
  aliasRoutes(context);
  versionRoutes(context);
}

const description = (text: string | undefined): string | null => (text === undefined ? null : truncate(text, 100_000));

function modelRoutes({ app, tracker, changed }: Context): void {
  const { registry } = tracker.store;
  const full = async (model: RegisteredModel) =>
    shapes.registeredModel(model, await registry.latestVersions(model.name));

  route(app, endpoints.createModel, async (message) => {
    const model = await registry.createModel({
      name: checkModelName(message.name),
      description: description(message.description),
      tags: (message.tags ?? []).map(registryTag),
    });
    changed(model.name, "created");
    return { registered_model: await full(model) };
  });

  route(app, endpoints.getModel, async ({ name }) => ({
    registered_model: await full(await registry.getModel(name)),
  }));

  route(app, endpoints.searchModels, async (message) => {
    const order = parseOrder(message.order_by, REGISTERED_MODELS);
    const limit = limitOf(message.max_results, 100, 1000);
    const { items, next } = await registry.searchModels({
      filter: parseFilter(message.filter, REGISTERED_MODELS),
      order,
      ...startOf(message.page_token, order),
      limit,
    });
    const models = await Promise.all(items.map(full));
    return shapes.page("registered_models", models, tokenOf(next, order));
  });

  route(app, endpoints.renameModel, async ({ name, new_name }) => {
    const model = await registry.renameModel(name, checkModelName(new_name));
    changed(name, "deleted");
    changed(new_name, "created");
    return { registered_model: await full(model) };
  });

  route(app, endpoints.updateModel, async (message) => {
    const model = await registry.describeModel(message.name, description(message.description));
    changed(model.name, "updated");
    return { registered_model: await full(model) };
  });

  route(app, endpoints.deleteModel, async ({ name }) => {
    await registry.deleteModel(name, currentPrincipal().name);
    changed(name, "deleted");
    return {};
  });

  route(app, endpoints.setModelTag, async (message) => {
    await registry.setModelTag(message.name, registryTag(message));
    changed(message.name, "updated");
    return {};
  });

  route(app, endpoints.deleteModelTag, async ({ name, key }) => {
    await registry.deleteModelTag(name, checkKey(key, "tag"));
    changed(name, "updated");
    return {};
  });

  route(app, endpoints.getLatestVersions, async ({ name, stages }) => {
    const selected = (stages ?? []).map(stageOf);
    const versions = await registry.latestVersions(name);
    return shapes.page(
      "model_versions",
      versions.filter(({ stage }) => selected.length === 0 || selected.includes(stage)).map(shapes.modelVersion),
      undefined,
    );
  });
}

function aliasRoutes({ app, tracker, changed }: Context): void {
  const { registry } = tracker.store;

  route(app, endpoints.setAlias, async ({ name, alias, version }) => {
    await setAlias(tracker, name, { alias: checkAlias(alias), version: Number(version) });
    changed(name, "updated", Number(version));
    return {};
  });

  route(app, endpoints.getByAlias, async ({ name, alias }) => ({
    model_version: shapes.modelVersion(await registry.getByAlias(name, alias)),
  }));

  route(app, endpoints.deleteAlias, async ({ name, alias }) => {
    await registry.deleteAlias(name, alias);
    changed(name, "updated");
    return {};
  });
}

function versionRoutes({ app, tracker, changed }: Context): void {
  const { locations } = tracker;
  const { registry } = tracker.store;

  route(app, endpoints.createVersion, async (message) => {
    const version = await register(tracker, {
      name: message.name,
      source: message.source,
      runId: message.run_id || null,
      runLink: message.run_link ?? null,
      modelId: message.model_id || null,
      description: description(message.description),
      userId: currentPrincipal().name,
      tags: (message.tags ?? []).map(registryTag),
    });
    changed(version.name, "created", version.version);
    return { model_version: shapes.modelVersion(version) };
  });

  route(app, endpoints.getVersion, async ({ name, version }) => ({
    model_version: shapes.modelVersion(await registry.getVersion(name, Number(version))),
  }));

  route(app, endpoints.searchVersions, async (message) => {
    const order = parseOrder(message.order_by, MODEL_VERSIONS);
    const limit = Math.min(limitOf(message.max_results, 10_000, 200_000), MAX_VERSIONS);
    const { items, next } = await registry.searchVersions({
      filter: parseFilter(message.filter, MODEL_VERSIONS),
      order,
      ...startOf(message.page_token, order),
      limit,
    });
    return shapes.pageText("model_versions", items, shapes.modelVersion, tokenOf(next, order));
  });

  route(app, endpoints.getDownloadUri, async ({ name, version }) => {
    const { root, source: own, location, tags } = await registry.getVersion(name, Number(version));
    if (own.startsWith("models:") && root !== null) return { artifact_uri: uriOf(root) };
    const source = location ?? own;
    if (isPrompt(tags) && isPlaceholder(source)) return { artifact_uri: source };
    // An earlier release may have recorded it.
    return { artifact_uri: isReference(source) ? source : locations.check(source, "model version source") };
  });

  route(app, endpoints.updateVersion, async (message) => {
    const version = await registry.describeVersion(
      message.name,
      Number(message.version),
      description(message.description),
    );
    changed(version.name, "updated", version.version);
    return { model_version: shapes.modelVersion(version) };
  });

  route(app, endpoints.deleteVersion, async ({ name, version }) => {
    await registry.deleteVersion(name, Number(version), currentPrincipal().name);
    changed(name, "deleted", Number(version));
    return {};
  });

  route(app, endpoints.transitionStage, async (message) => {
    const stage = stageOf(message.stage);
    const archiveExisting = bool(message.archive_existing_versions ?? false);
    if (archiveExisting && stage !== "Production" && stage !== "Staging") {
      throw invalid(
        `archive_existing_versions is only allowed for the stages Staging and Production, not for ${stage}.`,
      );
    }
    const { version } = await promote(tracker, {
      name: message.name,
      version: Number(message.version),
      stage,
      archiveExisting,
      who: currentPrincipal().name,
      comment: null,
    });
    return { model_version: shapes.modelVersion(version) };
  });

  route(app, endpoints.setVersionTag, async (message) => {
    await registry.setVersionTag(message.name, Number(message.version), registryTag(message));
    changed(message.name, "updated", Number(message.version));
    return {};
  });

  route(app, endpoints.deleteVersionTag, async ({ name, version, key }) => {
    await registry.deleteVersionTag(name, Number(version), checkKey(key, "tag"));
    changed(name, "updated", Number(version));
    return {};
  });
}
