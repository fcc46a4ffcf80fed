import { type Caller, pairs, type SearchOptions, search, type Texts, type ViewType } from "./caller.ts";
import type { Experiment } from "./types.ts";

/**
 * Experiments of a tracker, which group runs.
 *
 * @example
 * const client = await TrackerClient.connect();
 * const id = await client.experiments.create("tone of voice", { team: "support" });
 * for await (const { name } of client.experiments.search({ filter: "name LIKE 'tone%'" })) console.log(name);
 */
export class Experiments {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /**
   * @returns the new experiment's id
   * @throws TrackerError with the code RESOURCE_ALREADY_EXISTS when the name is taken
   */
  async create(name: string, tags: Texts = {}): Promise<string> {
    const message = { name, tags: pairs(tags) };
    return (await this.#caller.call<{ experiment_id: string }>("POST", "experiments/create", message)).experiment_id;
  }

  /** @throws TrackerError with the code RESOURCE_DOES_NOT_EXIST */
  async get(experiment_id: string): Promise<Experiment> {
    return (await this.#caller.call<{ experiment: Experiment }>("GET", "experiments/get", { experiment_id }))
      .experiment;
  }

  /** @throws TrackerError with the code RESOURCE_DOES_NOT_EXIST */
  async getByName(experiment_name: string): Promise<Experiment> {
    const message = { experiment_name };
    return (await this.#caller.call<{ experiment: Experiment }>("GET", "experiments/get-by-name", message)).experiment;
  }

  search({ orderBy, view = "ACTIVE_ONLY", ...options }: SearchOptions & { view?: ViewType } = {}) {
    const message = { ...options, order_by: orderBy, view_type: view };
    return search<Experiment>(this.#caller, "experiments/search", "experiments", message);
  }

  async rename(experiment_id: string, new_name: string): Promise<void> {
    await this.#caller.call("POST", "experiments/update", { experiment_id, new_name });
  }

  /** Deletes the experiment and its runs; see {@link restore}. */
  async delete(experiment_id: string): Promise<void> {
    await this.#caller.call("POST", "experiments/delete", { experiment_id });
  }

  async restore(experiment_id: string): Promise<void> {
    await this.#caller.call("POST", "experiments/restore", { experiment_id });
  }

  async setTag(experiment_id: string, key: string, value: string): Promise<void> {
    await this.#caller.call("POST", "experiments/set-experiment-tag", { experiment_id, key, value });
  }
}
