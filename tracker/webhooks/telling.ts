import type { RegistryStore } from "../store/store.ts";
import type { KeyValue } from "../store/types.ts";
import type { WebhookDelivery } from "./deliver.ts";

const record = (tags: readonly KeyValue[]): Record<string, string> =>
  Object.fromEntries(tags.map(({ key, value }) => [key, value]));

/** A registry that tells webhooks what changes in it, whoever changes it. Payloads are MLflow's. */
export function tellingRegistry(registry: RegistryStore, webhooks: Pick<WebhookDelivery, "tell">): RegistryStore {
  return {
    ...registry,

    async createModel(model) {
      const made = await registry.createModel(model);
      const { name, description } = made;
      webhooks.tell("registered_model.created", { name, tags: record(made.tags), description });
      return made;
    },

    async createVersion(version) {
      const made = await registry.createVersion(version);
      webhooks.tell("model_version.created", {
        name: made.name,
        version: String(made.version),
        source: made.source,
        run_id: made.runId,
        tags: record(made.tags),
        description: made.description,
      });
      return made;
    },

    async setVersionTag(name, version, tag) {
      await registry.setVersionTag(name, version, tag);
      webhooks.tell("model_version_tag.set", { name, version: String(version), key: tag.key, value: tag.value });
    },

    async deleteVersionTag(name, version, key) {
      await registry.deleteVersionTag(name, version, key);
      webhooks.tell("model_version_tag.deleted", { name, version: String(version), key });
    },

    async setAlias(name, { alias, version }) {
      await registry.setAlias(name, { alias, version });
      webhooks.tell("model_version_alias.created", { name, alias, version: String(version) });
    },

    async deleteAlias(name, alias) {
      await registry.deleteAlias(name, alias);
      webhooks.tell("model_version_alias.deleted", { name, alias });
    },

    async transition(wanted) {
      const { stage: from } = await registry.getVersion(wanted.name, wanted.version);
      const moved = await registry.transition(wanted);
      if (moved && from !== moved.stage) {
        const { name, version, stage, source, runId } = moved;
        webhooks.tell("model_version_stage.set", {
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
