import { access } from "node:fs/promises";
import { join } from "node:path";
import { ModelError } from "../error.ts";
import type { StoredTensor } from "./dtypes.ts";
import type { TensorInfo } from "./header.ts";
import { readText, SafetensorsFile } from "./safetensors.ts";
import { indexName } from "./write.ts";

/**
 * The tensors of a model folder: those of its `model.safetensors`, or of the shards in its `model.safetensors.index.json`.
 */
export class ModelFiles {
  readonly folder: string;
  readonly #files: readonly SafetensorsFile[];
  readonly #where: ReadonlyMap<string, SafetensorsFile>;

  private constructor(folder: string, files: readonly SafetensorsFile[], where: ReadonlyMap<string, SafetensorsFile>) {
    this.folder = folder;
    this.#files = files;
    this.#where = where;
  }

  /**
   * Opens a folder's files. Close them after use.
   * @throws ModelError when there are none, or one is missing, damaged, or does not match the index
   */
  static async open(folder: string): Promise<ModelFiles> {
    const single = join(folder, "model.safetensors");
    if (await exists(single)) {
      const file = await SafetensorsFile.open(single);
      return new ModelFiles(folder, [file], new Map([...file.tensors.keys()].map((name) => [name, file])));
    }
    const path = join(folder, indexName);
    if (!(await exists(path))) {
      const other = (await exists(join(folder, "pytorch_model.bin")))
        ? " Its pytorch_model.bin is not supported; save the model with safe_serialization=True."
        : "";
      throw new ModelError(`${folder} has neither model.safetensors nor ${indexName}.${other}`);
    }
    const map = parseIndex(await readText(path), path);
    const files = new Map<string, SafetensorsFile>();
    try {
      for (const shard of [...new Set(map.values())].sort()) {
        files.set(shard, await openShard(folder, shard, path));
      }
      return new ModelFiles(folder, [...files.values()], locate(map, files, path));
    } catch (error) {
      await closeAll(files.values());
      throw error;
    }
  }

  /** Returns the names of all tensors. */
  names(): string[] {
    return [...this.#where.keys()];
  }

  /** Returns the dtype, shape and location of a tensor, if it exists. */
  info(name: string): TensorInfo | undefined {
    return this.#where.get(name)?.tensors.get(name);
  }

  /**
   * Reads one tensor in its stored dtype into a new buffer.
   * @throws ModelError when there is no such tensor
   */
  async read(name: string): Promise<StoredTensor> {
    const file = this.#where.get(name);
    if (!file) throw new ModelError(`${this.folder} has no tensor ${JSON.stringify(name)}.`);
    return file.read(name);
  }

  /** Closes the files. */
  async close(): Promise<void> {
    await closeAll(this.#files);
  }
}

/** Parses an index into a map from tensor to file. */
function parseIndex(text: string, path: string): Map<string, string> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new ModelError(`${path} is not valid JSON: ${(error as Error).message.replace(/\s+/g, " ")}`);
  }
  const map = typeof json === "object" && json !== null && "weight_map" in json ? json.weight_map : undefined;
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new ModelError(`${path} has no weight_map that maps tensors to files.`);
  }
  const entries = Object.entries(map);
  if (entries.length === 0) throw new ModelError(`${path}: weight_map is empty.`);
  for (const [name, file] of entries) {
    if (typeof file !== "string" || !/^[^/\\\0]+\.safetensors$/.test(file) || file.includes("..")) {
      throw new ModelError(
        `${path}: the file of tensor ${JSON.stringify(name)} is ${JSON.stringify(file)}, which is not the name of a .safetensors file in the same folder.`,
      );
    }
  }
  return new Map(entries as [string, string][]);
}

async function openShard(folder: string, shard: string, index: string): Promise<SafetensorsFile> {
  const path = join(folder, shard);
  if (!(await exists(path))) throw new ModelError(`${index} refers to ${shard}, but ${folder} has no such file.`);
  return SafetensorsFile.open(path);
}

function locate(
  map: ReadonlyMap<string, string>,
  files: ReadonlyMap<string, SafetensorsFile>,
  index: string,
): Map<string, SafetensorsFile> {
  const where = new Map<string, SafetensorsFile>();
  for (const [name, shard] of map) {
    const file = files.get(shard);
    if (!file?.tensors.has(name)) throw new ModelError(`According to ${index}, ${name} is in ${shard}, but it is not.`);
    where.set(name, file);
  }
  for (const [shard, file] of files) {
    const extra = [...file.tensors.keys()].find((name) => map.get(name) !== shard);
    if (extra !== undefined) {
      throw new ModelError(
        `${shard} contains ${extra}, but ${index} does not list it there: the files are from different saves.`,
      );
    }
  }
  return where;
}

async function closeAll(files: Iterable<SafetensorsFile>): Promise<void> {
  for (const file of files) await file.close();
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );
