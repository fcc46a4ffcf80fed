import { join } from "node:path";
import { type Adapter, AdapterError, attach, detach, fileParameters, parseAdapterConfig } from "../adapters/index.ts";
import { readParameters } from "../engine/index.ts";
import type { CausalLM } from "./causal-lm.ts";
import { SafetensorsFile, saveFolder, toFloat32, verifyFolder } from "./files/index.ts";
import { readJson } from "./json.ts";

const names = { config: "adapter_config.json", weights: "adapter_model.safetensors" };

/** Loads an adapter from a folder in PEFT's layout onto a model's layers, without activating it. */
export async function loadAdapter(model: CausalLM, folder: string, name: string): Promise<Adapter> {
  await verifyFolder(folder);
  const adapter = attach(
    model,
    name,
    parseAdapterConfig(await readJson(join(folder, names.config))),
    model.outputName(),
  );
  try {
    const file = await SafetensorsFile.open(join(folder, names.weights));
    try {
      const expected = fileParameters(adapter);
      const missing = [...expected.keys()].filter((key) => !file.tensors.has(key));
      const unused = [...file.tensors.keys()].filter((key) => !expected.has(key));
      if (missing.length > 0 || unused.length > 0) {
        const describe = (what: string, list: string[]) =>
          list.length > 0
            ? `${what} ${list.slice(0, 3).join(", ")}${list.length > 3 ? ` and ${list.length - 3} more` : ""}`
            : "";
        throw new AdapterError(
          `${file.path} does not fit the model and its ${names.config}: ${[describe("missing", missing), describe("unused", unused)].filter(Boolean).join("; ")}.`,
        );
      }
      for (const [key, parameter] of expected) {
        const stored = await file.read(key);
        if (String(stored.shape) !== String(parameter.shape)) {
          throw new AdapterError(
            `${file.path}: ${key} has shape [${stored.shape}], but the configuration requires [${parameter.shape}].`,
          );
        }
        parameter.give(toFloat32(stored));
      }
    } finally {
      await file.close();
    }
    return adapter;
  } catch (error) {
    detach(name, adapter);
    throw error;
  }
}

/** Saves an adapter in PEFT's layout. */
export async function saveAdapter(
  folder: string,
  adapter: Adapter,
  baseModel: string,
  files: Readonly<Record<string, string>>,
): Promise<void> {
  await saveFolder(folder, async (writer) => {
    for (const [name, content] of Object.entries(files)) await writer.file(name, content);
    await writer.file(names.config, JSON.stringify(adapter.config.toFile(baseModel), null, 2));
    const sources = [...fileParameters(adapter)].map(([name, parameter]) => ({
      name,
      dtype: "float32" as const,
      shape: parameter.shape,
      read: async () => (await readParameters([parameter]))[0].data as Float32Array<ArrayBuffer>,
    }));
    await writer.tensors(names.weights, sources);
  });
}
