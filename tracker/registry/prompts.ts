import type { KeyValue } from "../store/types.ts";

/*
 * MLflow's prompts are registered models and versions with this tag. A version's text is in the tag `mlflow.prompt.text`;
 * it has no files.
 */

const IS_PROMPT = "mlflow.prompt.is_prompt";

/** Whether a registered model or a version with these tags is a prompt. */
export const isPrompt = (tags: readonly KeyValue[]): boolean => tags.some(({ key }) => key === IS_PROMPT);

/** Whether a source is only a word, such as MLflow's `prompt-template`, and names no location. */
export const isPlaceholder = (source: string): boolean => /^[A-Za-z][\w-]{0,99}$/.test(source);
