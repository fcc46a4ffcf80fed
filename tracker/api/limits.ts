import { invalid } from "../errors.ts";
import type { KeyValue } from "../store/types.ts";

/*
 * MLflow's limits: names and keys that break them are refused, values that are too long are cut,
 * so that one long value does not cost a run its record.
 */

const MAX_KEY = 250;
const MAX_PARAM = 6000;
const MAX_RUN_TAG = 8000;
const MAX_OTHER_TAG = 5000;

const KEY = /^[\p{L}\p{N}_.\-/ :]+$/u;

/** Checks the key of a metric, param or tag: it must also do as a relative path. */
export function checkKey(key: string, what: "metric" | "param" | "tag"): string {
  if (!KEY.test(key)) {
    throw invalid(
      `Invalid ${what} name '${cut(key, 80)}': names may only contain letters, digits, underscores (_), dashes (-), periods (.), spaces ( ), colons (:) and slashes (/).`,
    );
  }
  if (key.length > MAX_KEY) {
    throw invalid(
      `Invalid ${what} name '${cut(key, 80)}...': ${key.length} characters long, at most ${MAX_KEY} allowed.`,
    );
  }
  if (key.split("/").some((part) => part === "" || part === "." || part === "..")) {
    throw invalid(
      `Invalid ${what} name '${key}': as a path it must not begin or end with '/', nor hold '//', '.' or '..'.`,
    );
  }
  return key;
}

/** Cuts text to so many characters, never through the middle of one that takes two. */
export function cut(text: string, length: number): string {
  if (text.length <= length) return text;
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? length - 1 : length);
}

export const runTag = ({ key, value }: { key: string; value?: string }): KeyValue => ({
  key: checkKey(key, "tag"),
  value: cut(value ?? "", MAX_RUN_TAG),
});

export const otherTag = ({ key, value }: { key: string; value?: string }): KeyValue => ({
  key: checkKey(key, "tag"),
  value: cut(value ?? "", MAX_OTHER_TAG),
});

export const param = ({ key, value }: { key: string; value?: string }): KeyValue => ({
  key: checkKey(key, "param"),
  value: cut(value ?? "", MAX_PARAM),
});

/** Checks a name that something is filed under. */
export function checkName(name: string, what: string, limit: number): string {
  if (name.trim() === "") throw invalid(`Invalid ${what} name: it must not be empty.`);
  if (name.length > limit) {
    throw invalid(
      `Invalid ${what} name '${cut(name, 80)}...': ${name.length} characters long, at most ${limit} allowed.`,
    );
  }
  return name;
}

/** Registered models' names are parts of paths. */
export function checkModelName(name: string): string {
  checkName(name, "registered model", 256);
  if (/[/:]/.test(name)) throw invalid(`Invalid registered model name '${name}': it must not contain '/' or ':'.`);
  return name;
}

export function checkAlias(alias: string): string {
  if (!/^[\w-]+$/.test(alias)) {
    throw invalid(
      `Invalid alias name '${cut(alias, 80)}': aliases may only contain letters, digits, underscores and dashes.`,
    );
  }
  if (alias.length > 255) throw invalid(`Invalid alias name: ${alias.length} characters long, at most 255 allowed.`);
  if (/^v\d+$/i.test(alias)) throw invalid(`Invalid alias name '${alias}': it would be taken for a version number.`);
  if (alias.toLowerCase() === "latest") throw invalid("Invalid alias name 'latest': it is reserved.");
  return alias;
}
