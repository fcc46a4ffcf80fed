import { isPrompt, promptTags, promptText } from "../registry/prompts.ts";
import type { RegistryStore } from "../store/store.ts";
import type { KeyValue } from "../store/types.ts";
import type { WebhookDelivery } from "./deliver.ts";

const record = (tags: readonly KeyValue[]): Record<string, string> =>
  Object.fromEntries(tags.map(({ key, value }) => [key, value]));

/** A registry that notifies webhooks of every change. Prompts have events of their own. Payloads are as in MLflow. */
export function observedRegistry(registry: RegistryStore, webhooks: Pick<WebhookDelivery, "notify">): RegistryStore {
  const ofPrompt = async (name: string) => isPrompt((await registry.getModel(name)).tags);
  return {
    ...registry,

    async createModel(model) {
      const created = await registry.createModel(model);
      const { name, description, tags } = created;
      if (isPrompt(tags)) webhooks.notify("prompt.created", { name, tags: record(promptTags(tags)), description });
      else webhooks.notify("registered_model.created", { name, tags: record(tags), description });
      return created;
    },

    async setModelTag(name, tag) {
      await registry.setModelTag(name, tag);
      if (await ofPrompt(name)) webhooks.notify("prompt_tag.set", { name, key: tag.key, value: tag.value });
    },

    async deleteModelTag(name, key) {
      const prompt = await ofPrompt(name);
      await registry.deleteModelTag(name, key);
      if (prompt) webhooks.notify("prompt_tag.deleted", { name, key });
    },

    async createVersion(version) {
      const created = await registry.createVersion(version);
      const { name, description, source, tags, runId: run_id } = created;
      const number = String(created.version);
      if (isPrompt(tags)) {
        const template = promptText(tags);
        webhooks.notify("prompt_version.created", {
          name,
          version: number,
          template,
          tags: record(promptTags(tags)),
          description,
        });
      } else {
        const data = { name, version: number, source, run_id, tags: record(tags), description };
        webhooks.notify("model_version.created", data);
      }
      return created;
    },

    async setVersionTag(name, version, tag) {
      await registry.setVersionTag(name, version, tag);
      const event = (await ofPrompt(name)) ? "prompt_version_tag.set" : "model_version_tag.set";
      webhooks.notify(event, { name, version: String(version), key: tag.key, value: tag.value });
    },

    async deleteVersionTag(name, version, key) {
      await registry.deleteVersionTag(name, version, key);
      const event = (await ofPrompt(name)) ? "prompt_version_tag.deleted" : "model_version_tag.deleted";
      webhooks.notify(event, { name, version: String(version), key });
    },

    async setAlias(name, { alias, version }, judged) {
      const set = await registry.setAlias(name, { alias, version }, judged);
      if (set) {
        const event = (await ofPrompt(name)) ? "prompt_alias.created" : "model_version_alias.created";
        webhooks.notify(event, { name, alias, version: String(version) });
      }
      return set;
    },

    async deleteAlias(name, alias) {
      await registry.deleteAlias(name, alias);
      const event = (await ofPrompt(name)) ? "prompt_alias.deleted" : "model_version_alias.deleted";
      webhooks.notify(event, { name, alias });
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
