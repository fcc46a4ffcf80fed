import { invalid } from "../errors.ts";
import type { KeyValue } from "../store/types.ts";

/*
 * MLflow's limits. Names and keys that exceed them are refused. Values that are too long are truncated, so that one long
 * value does not make a run lose its data.
 */

const MAX_KEY = 250;
const MAX_PARAM = 6000;
const MAX_RUN_TAG = 8000;
const MAX_OTHER_TAG = 5000;
/** The text of a prompt is a tag of its version, so the registry's tags are long, and never truncated. */
const MAX_REGISTRY_TAG = 100_000;

const KEY = /^[\p{L}\p{N}_.\-/ :]+$/u;

/** Checks the key of a metric, param or tag, which must also be a valid relative path. */
export function checkKey(key: string, what: "metric" | "param" | "tag"): string {
  if (key.length > MAX_KEY) {
    throw tooLong(`The name of the ${what}`, key, MAX_KEY);
  }
  if (!KEY.test(key)) {
    throw invalidName(
      key,
      `the name of a ${what} may only contain letters, digits, underscores (_), dashes (-), periods (.), spaces ( ), colons (:) and slashes (/).`,
    );
  }
  if (key.split("/").some((part) => part === "" || part === "." || part === "..")) {
    throw invalidName(
      key,
      `the name of a ${what} must not start or end with '/', or have '//', '.' or '..' as a part.`,
    );
  }
  return key;
}

const tooLong = (what: string, text: string, limit: number) =>
  invalid(`${what} '${truncate(text, 80)}...' had length ${text.length}, which exceeded length limit of ${limit}.`);

const invalidName = (name: string, why: string) =>
  invalid(`Invalid value ${JSON.stringify(truncate(name, 80))} for parameter 'name' supplied: ${why}`);

/** Truncates text to `length` UTF-16 code units without splitting a surrogate pair. */
export function truncate(text: string, length: number): string {
  if (text.length <= length) return text;
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? length - 1 : length);
}

export const runTag = ({ key, value }: { key: string; value?: string }): KeyValue => ({
  key: checkKey(key, "tag"),
  value: truncate(value ?? "", MAX_RUN_TAG),
});

export const otherTag = ({ key, value }: { key: string; value?: string }): KeyValue => ({
  key: checkKey(key, "tag"),
  value: truncate(value ?? "", MAX_OTHER_TAG),
});

export function registryTag({ key, value = "" }: { key: string; value?: string }): KeyValue {
  if (value.length > MAX_REGISTRY_TAG) throw tooLong(`The value of the tag ${key}`, value, MAX_REGISTRY_TAG);
  return { key: checkKey(key, "tag"), value };
}

export const param = ({ key, value }: { key: string; value?: string }): KeyValue => ({
  key: checkKey(key, "param"),
  value: truncate(value ?? "", MAX_PARAM),
});

/** Checks that a name is not empty and not too long. */
export function checkName(name: string, what: string, limit: number): string {
  if (name.length > limit) {
    throw tooLong(`The name of the ${what}`, name, limit);
  }
  if (name.trim() === "") throw invalidName(name, `the name of a ${what} must not be empty.`);
  return name;
}

/** Checks the name of a registered model, which is part of paths. */
export function checkModelName(name: string): string {
  checkName(name, "registered model", 256);
  if (/[/:]/.test(name)) throw invalidName(name, "the name of a registered model must not contain '/' or ':'.");
  return name;
}

export function checkAlias(alias: string): string {
  if (!/^[\w-]+$/.test(alias)) {
    throw invalid(
      `Invalid alias name '${truncate(alias, 80)}': aliases may only contain letters, digits, underscores and dashes.`,
    );
  }
  if (alias.length > 255) throw invalid(`Invalid alias name: ${alias.length} characters long, at most 255 allowed.`);
  if (/^v\d+$/i.test(alias)) throw invalid(`Invalid alias name '${alias}': it would be taken for a version number.`);
  if (alias.toLowerCase() === "latest") throw invalid("Invalid alias name 'latest': it is reserved.");
  return alias;
}
