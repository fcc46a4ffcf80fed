import type { RegistryStore } from "../store/store.ts";
import type { KeyValue } from "../store/types.ts";
import type { WebhookDelivery } from "./deliver.ts";

const record = (tags: readonly KeyValue[]): Record<string, string> =>
  Object.fromEntries(tags.map(({ key, value }) => [key, value]));

/** A registry that notifies webhooks of every change. Payloads are as in MLflow. */
export function observedRegistry(registry: RegistryStore, webhooks: Pick<WebhookDelivery, "notify">): RegistryStore {
  return {
    ...registry,

    async createModel(model) {
      const created = await registry.createModel(model);
      const { name, description } = created;
      webhooks.notify("registered_model.created", { name, tags: record(created.tags), description });
      return created;
    },

    async createVersion(version) {
      const created = await registry.createVersion(version);
      webhooks.notify("model_version.created", {
        name: created.name,
        version: String(created.version),
        source: created.source,
        run_id: created.runId,
        tags: record(created.tags),
        description: created.description,
      });
      return created;
    },

    async setVersionTag(name, version, tag) {
      await registry.setVersionTag(name, version, tag);
      webhooks.notify("model_version_tag.set", { name, version: String(version), key: tag.key, value: tag.value });
    },

    async deleteVersionTag(name, version, key) {
      await registry.deleteVersionTag(name, version, key);
      webhooks.notify("model_version_tag.deleted", { name, version: String(version), key });
    },

    async setAlias(name, { alias, version }, judged) {
      const set = await registry.setAlias(name, { alias, version }, judged);
      if (set) webhooks.notify("model_version_alias.created", { name, alias, version: String(version) });
      return set;
    },

    async deleteAlias(name, alias) {
      await registry.deleteAlias(name, alias);
      webhooks.notify("model_version_alias.deleted", { name, alias });
    },

    async transition(wanted) {
      const { stage: from } = await registry.getVersion(wanted.name, wanted.version);
      const moved = await registry.transition(wanted);
      if (moved && from !== moved.stage) {
        const { name, version, stage, source, runId } = moved;
        webhooks.notify("model_version_stage.set", {
          name,
          version: String(version),
          from,
          to: stage,
          who: wanted.who,
          comment: wanted.comment,
          source,
          run_id: runId,
        });
      }
      return moved;
    },
  };
}
