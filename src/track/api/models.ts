import { type Caller, pairs, type SearchOptions, search, type Texts } from "./caller.ts";
import type { LoggedModel, ModelVersion, RegisteredModel } from "./types.ts";

/** Options of a new registered model or version. */
export interface ModelFields {
  description?: string;
  tags?: Texts;
}

/**
 * Registered models and their versions.
 *
 * @example
 * await client.models.create("support-assistant", { description: "Answers in our tone." });
 * const version = await client.models.createVersion("support-assistant", `runs:/${runId}/model`, { runId });
 * await client.models.setAlias("support-assistant", "champion", version.version);
 */
export class Models {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** @throws TrackerError with the code RESOURCE_ALREADY_EXISTS when the name is taken */
  async create(name: string, { description, tags }: ModelFields = {}): Promise<RegisteredModel> {
    return this.#model("POST", "registered-models/create", { name, description, tags: pairs(tags) });
  }

  /** @throws TrackerError with the code RESOURCE_DOES_NOT_EXIST */
  async get(name: string): Promise<RegisteredModel> {
    return this.#model("GET", "registered-models/get", { name });
  }

  search({ orderBy, ...options }: SearchOptions = {}) {
    const message = { ...options, ...(orderBy ? { order_by: orderBy } : {}) };
    return search<RegisteredModel>(this.#caller, "registered-models/search", "registered_models", message, "GET", 100);
  }

  async describe(name: string, description: string): Promise<RegisteredModel> {
    return this.#model("PATCH", "registered-models/update", { name, description });
  }

  async rename(name: string, new_name: string): Promise<RegisteredModel> {
    return this.#model("POST", "registered-models/rename", { name, new_name });
  }

  async setTag(name: string, key: string, value: string): Promise<void> {
    await this.#caller.call("POST", "registered-models/set-tag", { name, key, value });
  }

  async delete(name: string): Promise<void> {
    await this.#caller.call("DELETE", "registered-models/delete", { name });
  }

  /** @param source location of the files: `runs:/<run id>/<folder>`, `models:/<logged model id>`, or a URI */
  async createVersion(
    name: string,
    source: string,
    { runId, modelId, description, tags }: ModelFields & { runId?: string; modelId?: string } = {},
  ): Promise<ModelVersion> {
    const message = { name, source, run_id: runId, model_id: modelId, description, tags: pairs(tags) };
    return this.#version("POST", "model-versions/create", message);
  }

  async getVersion(name: string, version: string): Promise<ModelVersion> {
    return this.#version("GET", "model-versions/get", { name, version });
  }

  /** @param options.filter such as `name = 'support-assistant'` or `run_id = '...'` */
  searchVersions({ orderBy, ...options }: SearchOptions = {}) {
    const message = { ...options, ...(orderBy ? { order_by: orderBy } : {}) };
    return search<ModelVersion>(this.#caller, "model-versions/search", "model_versions", message, "GET");
  }

  async describeVersion(name: string, version: string, description: string): Promise<ModelVersion> {
    return this.#version("PATCH", "model-versions/update", { name, version, description });
  }

  async setVersionTag(name: string, version: string, key: string, value: string): Promise<void> {
    await this.#caller.call("POST", "model-versions/set-tag", { name, version, key, value });
  }

  async deleteVersion(name: string, version: string): Promise<void> {
    await this.#caller.call("DELETE", "model-versions/delete", { name, version });
  }

  /** @param stage None, Staging, Production or Archived; in Anneal's tracker the model's gates must pass for Production */
  async transition(name: string, version: string, stage: string, archiveExisting = false): Promise<ModelVersion> {
    const message = { name, version, stage, archive_existing_versions: archiveExisting };
    return this.#version("POST", "model-versions/transition-stage", message);
  }

  async setAlias(name: string, alias: string, version: string): Promise<void> {
    await this.#caller.call("POST", "registered-models/alias", { name, alias, version });
  }

  async getByAlias(name: string, alias: string): Promise<ModelVersion> {
    return this.#version("GET", "registered-models/alias", { name, alias });
  }

  async deleteAlias(name: string, alias: string): Promise<void> {
    await this.#caller.call("DELETE", "registered-models/alias", { name, alias });
  }

  async #model(method: "GET" | "POST" | "PATCH", path: string, message: object): Promise<RegisteredModel> {
    return (await this.#caller.call<{ registered_model: RegisteredModel }>(method, path, message)).registered_model;
  }

  async #version(method: "GET" | "POST" | "PATCH", path: string, message: object): Promise<ModelVersion> {
    return (await this.#caller.call<{ model_version: ModelVersion }>(method, path, message)).model_version;
  }
}

/** Models logged by runs, registered or not; supported by MLflow since version 3. */
export class LoggedModels {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  async get(id: string): Promise<LoggedModel> {
    const path = `logged-models/${encodeURIComponent(id)}`;
    return (await this.#caller.call<{ model: LoggedModel }>("GET", path)).model;
  }

  /** @param options.filter such as `source_run_id = '...'` */
  search(experiment_ids: readonly string[], { filter, limit }: Omit<SearchOptions, "orderBy"> = {}) {
    const message = { experiment_ids, filter, ...(limit === undefined ? {} : { limit }) };
    return search<LoggedModel>(this.#caller, "logged-models/search", "models", message, "POST", 50);
  }

  async setTags(id: string, tags: Texts): Promise<void> {
    await this.#caller.call("PATCH", `logged-models/${encodeURIComponent(id)}/tags`, {
      model_id: id,
      tags: pairs(tags),
    });
  }

  async delete(id: string): Promise<void> {
    await this.#caller.call("DELETE", `logged-models/${encodeURIComponent(id)}`);
  }
}
