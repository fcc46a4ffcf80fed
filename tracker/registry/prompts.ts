import type { KeyValue } from "../store/types.ts";

/*
 * MLflow's prompts are registered models and versions with this tag. A version's text is in the tag `mlflow.prompt.text`;
 * it has no files.
 */

const IS_PROMPT = "mlflow.prompt.is_prompt";
const TEXT = "mlflow.prompt.text";
const OWN = [IS_PROMPT, TEXT, "_mlflow_prompt_type"];

/** Whether a registered model or a version with these tags is a prompt. */
export const isPrompt = (tags: readonly KeyValue[]): boolean => tags.some(({ key }) => key === IS_PROMPT);

/** Whether a source is only a word, such as MLflow's `prompt-template`, and names no location. */
export const isPlaceholder = (source: string): boolean => /^[A-Za-z][\w-]{0,99}$/.test(source);

/** The text of a prompt's version. */
export const promptText = (tags: readonly KeyValue[]): string | null =>
  tags.find(({ key }) => key === TEXT)?.value ?? null;

/** The tags of a prompt or its version that its author set. */
export const promptTags = (tags: readonly KeyValue[]): KeyValue[] => tags.filter(({ key }) => !OWN.includes(key));
