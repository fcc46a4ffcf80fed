import { RequestLocal } from "../request-local.ts";

/** What a request changes, for the audit log. */
export interface Change {
  who: string;
  /** The method and the path. */
  action: string;
  /** What is changed, as `field=value` pairs. */
  target: string;
  /** Whether the log has an entry. */
  recorded: boolean;
}

const current = new RequestLocal<Change>();

/** Runs `work` as a change. The store writes the log's entry in the first transaction of it. */
export const changing = <T>(change: Change | undefined, work: () => T): T =>
  change ? current.run(change, work) : work();

/** Returns the change that is made here; undefined outside requests, and for those that the log does not record. */
export const currentChange = (): Change | undefined => current.get();
