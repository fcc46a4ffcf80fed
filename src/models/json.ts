import { readFile } from "node:fs/promises";
import { ModelError } from "./error.ts";

/**
 * Parse a JSON file.
 * @throws ModelError when it is missing or no JSON
 */
export async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new ModelError(
      error.code === "ENOENT" ? `There is no file ${path}.` : `${path} cannot be read: ${error.message}`,
    );
  });
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ModelError(`${path} is no JSON: ${(error as Error).message}`);
  }
}
