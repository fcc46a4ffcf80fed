import { readFile } from "node:fs/promises";
import { ModelError } from "./error.ts";

/**
 * Reads and parses a JSON file.
 * @throws ModelError when it is missing or not valid JSON
 */
export async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new ModelError(
      error.code === "ENOENT" ? `There is no file ${path}.` : `Cannot read ${path}: ${error.message}`,
    );
  });
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ModelError(`${path} is not valid JSON: ${(error as Error).message}`);
  }
}
