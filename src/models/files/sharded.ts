import { access } from "node:fs/promises";
import { join } from "node:path";
import { ModelError } from "../error.ts";
import type { StoredTensor } from "./dtypes.ts";
import type { TensorInfo } from "./header.ts";
import { readText, SafetensorsFile } from "./safetensors.ts";
import { indexName } from "./write.ts";

/**
 * The tensors of a model folder: of its `model.safetensors`, or of the shards that its `model.safetensors.index.json`
 * names.
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
   * Open a folder's files. Close them after use.
   * @throws ModelError when there are none, or one is missing, damaged, or does not hold what the index says
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
        ? " Its pytorch_model.bin is not read; save the model with safe_serialization=True."
        : "";
      throw new ModelError(`There is no model.safetensors and no ${indexName} in ${folder}.${other}`);
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

  /** Names of all tensors. */
  names(): string[] {
    return [...this.#where.keys()];
  }

  /** Dtype, shape and place of a tensor; undefined when there is none of that name. */
  info(name: string): TensorInfo | undefined {
    return this.#where.get(name)?.tensors.get(name);
  }

  /**
   * Read one tensor, as it is stored, into a buffer of its own.
   * @throws ModelError when there is no such tensor
   */
  async read(name: string): Promise<StoredTensor> {
    const file = this.#where.get(name);
    if (!file) throw new ModelError(`${this.folder} has no tensor ${JSON.stringify(name)}.`);
    return file.read(name);
  }

  /** Close the files. */
  async close(): Promise<void> {
    await closeAll(this.#files);
  }
}

/** Which file holds which tensor, as an index says. */
function parseIndex(text: string, path: string): Map<string, string> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new ModelError(`${path} is no JSON: ${(error as Error).message.replace(/\s+/g, " ")}`);
  }
  const map = typeof json === "object" && json !== null && "weight_map" in json ? json.weight_map : undefined;
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new ModelError(`${path} has no weight_map that says which file holds which tensor.`);
  }
  const entries = Object.entries(map);
  if (entries.length === 0) throw new ModelError(`${path}: weight_map is empty.`);
  for (const [name, file] of entries) {
    if (typeof file !== "string" || !/^[^/\\\0]+\.safetensors$/.test(file) || file.includes("..")) {
      throw new ModelError(
        `${path}: tensor ${JSON.stringify(name)} is said to be in ${JSON.stringify(file)}, which is not the name of a .safetensors file beside the index.`,
      );
    }
  }
  return new Map(entries as [string, string][]);
}

async function openShard(folder: string, shard: string, index: string): Promise<SafetensorsFile> {
  const path = join(folder, shard);
  if (!(await exists(path))) throw new ModelError(`${index} names ${shard}, and ${folder} has no such file.`);
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
    if (!file?.tensors.has(name)) throw new ModelError(`${index} says that ${name} is in ${shard}, and it is not.`);
    where.set(name, file);
  }
  for (const [shard, file] of files) {
    const extra = [...file.tensors.keys()].find((name) => map.get(name) !== shard);
    if (extra !== undefined) {
      throw new ModelError(`${shard} holds ${extra}, and ${index} does not say so: the files are not of one save.`);
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
