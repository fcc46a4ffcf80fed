import { Type } from "@sinclair/typebox";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { invalid } from "../errors.ts";
import { Bool, bool, Int, limitOf, listOf, offsetOf, optional, pageToken, Text } from "../message.ts";
import { promote } from "../registry/promote.ts";
import { MODEL_VERSIONS, parseFilter, parseOrder, REGISTERED_MODELS } from "../store/filter.ts";
import type { RegisteredModel, Stage } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import { endpoint } from "./endpoint.ts";
import { Tag } from "./experiments.ts";
import { checkAlias, checkKey, checkModelName, cut, otherTag } from "./limits.ts";
import * as shapes from "./shapes.ts";

const STAGES = ["None", "Staging", "Production", "Archived"] as const satisfies readonly Stage[];
export const Version = Type.Union([Type.String({ pattern: "^\\d{1,15}$" }), Type.Integer({ minimum: 0 })], {
  title: "a version number",
});
const ByVersion = { name: Text, version: Version };
const Search = Type.Object({
  filter: optional(Text),
  max_results: optional(Int),
  order_by: optional(listOf(Text)),
  page_token: optional(Text),
});

/** A stage by its name in any case, as MLflow takes it. */
export function stageOf(text: string): Stage {
  const stage = STAGES.find((name) => name.toLowerCase() === text.toLowerCase());
  if (!stage) throw invalid(`Invalid Model Version stage: ${text}. Value must be one of ${STAGES.join(", ")}.`);
  return stage;
}

/** A version's files must be something that clients elsewhere can fetch, not a path of somebody's machine. */
function checkSource(source: string): string {
  if (source === "" || !/^[a-z][a-z0-9+.-]*:/i.test(source) || /^(file|[a-z]):/i.test(source)) {
    throw invalid(
      `Invalid model version source: '${source}'. Use mlflow-artifacts:/..., runs:/<run id>/<path>, models:/<model id> or the address of a store; paths of a machine are not accepted.`,
    );
  }
  return source;
}

/** What the registry's routes share. */
interface Context {
  app: FastifyInstance;
  tracker: Tracker;
  /** The user's name in whose name a request is made. */
  actor: (request: FastifyRequest) => string;
  /** Announce a change to open pages. */
  changed: (name: string, change: "created" | "updated" | "deleted", version?: number) => void;
}

export function registryRoutes(app: FastifyInstance, tracker: Tracker, actor: Context["actor"]): void {
  const context: Context = {
    app,
    tracker,
    actor,
    changed: (name, change, version) =>
      tracker.events.publish({ type: "model", name, change, ...(version === undefined ? {} : { version }) }),
  };
  modelRoutes(context);
  aliasRoutes(context);
  versionRoutes(context);
}

const description = (text: string | undefined): string | null => (text === undefined ? null : cut(text, 100_000));

function modelRoutes({ app, tracker, actor, changed }: Context): void {
  const { registry } = tracker.store;
  const full = async (model: RegisteredModel) =>
    shapes.registeredModel(model, await registry.latestVersions(model.name));

  endpoint(
    app,
    "POST",
    "/registered-models/create",
    Type.Object({ name: Text, description: optional(Text), tags: optional(listOf(Tag)) }),
    async (message) => {
      const model = await registry.createModel({
        name: checkModelName(message.name),
        description: description(message.description),
        tags: (message.tags ?? []).map(otherTag),
      });
      changed(model.name, "created");
      return { registered_model: await full(model) };
    },
  );

  endpoint(app, "GET", "/registered-models/get", Type.Object({ name: Text }), async ({ name }) => ({
    registered_model: await full(await registry.getModel(name)),
  }));

  for (const path of ["/registered-models/search", "/registered-models/list"]) {
    endpoint(app, ["GET", "POST"], path, Search, async (message) => {
      const offset = offsetOf(message.page_token);
      const limit = limitOf(message.max_results, 100, 1000);
      const { items, more } = await registry.searchModels({
        filter: parseFilter(message.filter, REGISTERED_MODELS),
        order: parseOrder(message.order_by, REGISTERED_MODELS),
        offset,
        limit,
      });
      const models = await Promise.all(items.map(full));
      return shapes.page("registered_models", models, more ? pageToken(offset + limit) : undefined);
    });
  }

  endpoint(
    app,
    "POST",
    "/registered-models/rename",
    Type.Object({ name: Text, new_name: Text }),
    async ({ name, new_name }) => {
      const model = await registry.renameModel(name, checkModelName(new_name));
      changed(name, "deleted");
      changed(new_name, "created");
      return { registered_model: await full(model) };
    },
  );

  endpoint(
    app,
    "PATCH",
    "/registered-models/update",
    Type.Object({ name: Text, description: optional(Text) }),
    async (message) => {
      const model = await registry.describeModel(message.name, description(message.description));
      changed(model.name, "updated");
      return { registered_model: await full(model) };
    },
  );

  endpoint(app, "DELETE", "/registered-models/delete", Type.Object({ name: Text }), async ({ name }, request) => {
    await registry.deleteModel(name, actor(request));
    changed(name, "deleted");
    return undefined;
  });

  endpoint(
    app,
    "POST",
    "/registered-models/set-tag",
    Type.Object({ name: Text, key: Text, value: optional(Text) }),
    async (message) => {
      await registry.setModelTag(message.name, otherTag(message));
      changed(message.name, "updated");
      return undefined;
    },
  );

  endpoint(
    app,
    "DELETE",
    "/registered-models/delete-tag",
    Type.Object({ name: Text, key: Text }),
    async ({ name, key }) => {
      await registry.deleteModelTag(name, checkKey(key, "tag"));
      changed(name, "updated");
      return undefined;
    },
  );

  endpoint(
    app,
    ["GET", "POST"],
    "/registered-models/get-latest-versions",
    Type.Object({ name: Text, stages: optional(listOf(Text)) }),
    async ({ name, stages }) => {
      const wanted = (stages ?? []).map(stageOf);
      const versions = await registry.latestVersions(name);
      return shapes.page(
        "model_versions",
        versions.filter(({ stage }) => wanted.length === 0 || wanted.includes(stage)).map(shapes.modelVersion),
        undefined,
      );
    },
  );
}

function aliasRoutes({ app, tracker, changed }: Context): void {
  const { registry } = tracker.store;

  endpoint(
    app,
    "POST",
    "/registered-models/alias",
    Type.Object({ ...ByVersion, alias: Text }),
    async ({ name, alias, version }) => {
      await registry.setAlias(name, { alias: checkAlias(alias), version: Number(version) });
      changed(name, "updated", Number(version));
      return undefined;
    },
  );

  endpoint(
    app,
    "GET",
    "/registered-models/alias",
    Type.Object({ name: Text, alias: Text }),
    async ({ name, alias }) => ({
      model_version: shapes.modelVersion(await registry.getByAlias(name, alias)),
    }),
  );

  endpoint(
    app,
    "DELETE",
    "/registered-models/alias",
    Type.Object({ name: Text, alias: Text }),
    async ({ name, alias }) => {
      await registry.deleteAlias(name, alias);
      changed(name, "updated");
      return undefined;
    },
  );
}

function versionRoutes({ app, tracker, actor, changed }: Context): void {
  const { store } = tracker;
  const { registry } = store;

  endpoint(
    app,
    "POST",
    "/model-versions/create",
    Type.Object({
      name: Text,
      source: Text,
      run_id: optional(Text),
      run_link: optional(Text),
      model_id: optional(Text),
      description: optional(Text),
      tags: optional(listOf(Tag)),
    }),
    async (message, request) => {
      if (message.run_id) await store.runs.get(message.run_id);
      const logged = message.model_id ? await store.loggedModels.get(message.model_id) : undefined;
      const version = await registry.createVersion({
        name: message.name,
        source: checkSource(message.source),
        runId: message.run_id || logged?.sourceRunId || null,
        runLink: message.run_link ?? null,
        modelId: message.model_id ?? null,
        description: description(message.description),
        userId: actor(request),
        tags: (message.tags ?? []).map(otherTag),
      });
      changed(version.name, "created", version.version);
      return { model_version: shapes.modelVersion(version) };
    },
  );

  endpoint(app, "GET", "/model-versions/get", Type.Object(ByVersion), async ({ name, version }) => ({
    model_version: shapes.modelVersion(await registry.getVersion(name, Number(version))),
  }));

  endpoint(app, ["GET", "POST"], "/model-versions/search", Search, async (message) => {
    const offset = offsetOf(message.page_token);
    const limit = limitOf(message.max_results, 10_000, 200_000);
    const { items, more } = await registry.searchVersions({
      filter: parseFilter(message.filter, MODEL_VERSIONS),
      order: parseOrder(message.order_by, MODEL_VERSIONS),
      offset,
      limit,
    });
    return shapes.page("model_versions", items.map(shapes.modelVersion), more ? pageToken(offset + limit) : undefined);
  });

  endpoint(app, "GET", "/model-versions/get-download-uri", Type.Object(ByVersion), async ({ name, version }) => {
    const found = await registry.getVersion(name, Number(version));
    const logged = found.modelId === null ? undefined : await store.loggedModels.get(found.modelId);
    return { artifact_uri: found.source.startsWith("models:") && logged ? logged.artifactUri : found.source };
  });

  endpoint(
    app,
    "PATCH",
    "/model-versions/update",
    Type.Object({ ...ByVersion, description: optional(Text) }),
    async (message) => {
      const version = await registry.describeVersion(
        message.name,
        Number(message.version),
        description(message.description),
      );
      changed(version.name, "updated", version.version);
      return { model_version: shapes.modelVersion(version) };
    },
  );

  endpoint(app, "DELETE", "/model-versions/delete", Type.Object(ByVersion), async ({ name, version }, request) => {
    await registry.deleteVersion(name, Number(version), actor(request));
    changed(name, "deleted", Number(version));
    return undefined;
  });

  endpoint(
    app,
    "POST",
    "/model-versions/transition-stage",
    Type.Object({ ...ByVersion, stage: Text, archive_existing_versions: optional(Bool) }),
    async (message, request) => {
      const stage = stageOf(message.stage);
      const archiveExisting = bool(message.archive_existing_versions ?? false);
      if (archiveExisting && stage !== "Production" && stage !== "Staging") {
        throw invalid(`archive_existing_versions goes with the stages Staging and Production, not with ${stage}.`);
      }
      const { version } = await promote(tracker, {
        name: message.name,
        version: Number(message.version),
        stage,
        archiveExisting,
        who: actor(request),
        comment: null,
      });
      return { model_version: shapes.modelVersion(version) };
    },
  );

  endpoint(
    app,
    "POST",
    "/model-versions/set-tag",
    Type.Object({ ...ByVersion, key: Text, value: optional(Text) }),
    async (message) => {
      await registry.setVersionTag(message.name, Number(message.version), otherTag(message));
      changed(message.name, "updated", Number(message.version));
      return undefined;
    },
  );

  endpoint(
    app,
    "DELETE",
    "/model-versions/delete-tag",
    Type.Object({ ...ByVersion, key: Text }),
    async ({ name, version, key }) => {
      await registry.deleteVersionTag(name, Number(version), checkKey(key, "tag"));
      changed(name, "updated", Number(version));
      return undefined;
    },
  );
}
