import { readParameters } from "../engine/index.ts";
import { fullWeight, Linear, type Weight } from "../nn/index.ts";
import { Parameter } from "../tensor/index.ts";
import type { CausalLM } from "./causal-lm.ts";
import { type ShardOptions, type StoredData, saveFolder, type TensorSource } from "./files/index.ts";
import { toConfigFile } from "./phi3/config.ts";

/** Options for saving a model. */
export interface SaveModelOptions extends ShardOptions {
  /** Other small files for the folder, by name. */
  files?: Readonly<Record<string, string>>;
}

/** Saves a model in Hugging Face's layout, tensor by tensor, with the active adapter merged. */
export async function saveModel(
  model: CausalLM,
  folder: string,
  { files = {}, ...options }: SaveModelOptions,
): Promise<void> {
  const sources = weightSources(model);
  const dtype = options.dtype ?? commonDtype(sources);
  await saveFolder(folder, async (writer) => {
    await writer.file("config.json", JSON.stringify(toConfigFile(model.config, dtype), null, 2));
    await writer.file("generation_config.json", JSON.stringify(generationConfig(model), null, 2));
    for (const [name, content] of Object.entries({ ...model.tokenizer.files(), ...files })) {
      await writer.file(name, content);
    }
    await writer.shards(sources, options);
  });
}

/** Returns the tensors to save: quantized layers in float32, adapters merged. */
export function weightSources(model: CausalLM): TensorSource[] {
  const sources: TensorSource[] = [];
  const linears = new Map([...model.namedModules()].filter(([, module]) => module instanceof Linear));
  const done = new Set<string>();
  for (const [name, parameter] of model.namedParameters()) {
    if (name.includes(".adapters.")) continue;
    const path = [...ancestors(name)].find((ancestor) => linears.has(ancestor));
    const layer = path === undefined ? undefined : linears.get(path);
    if (layer instanceof Linear && path !== undefined && name.startsWith(`${path}.weight`)) {
      if (done.has(path)) continue;
      done.add(path);
      sources.push(linearSource(`${path}.weight`, layer));
    } else {
      sources.push(parameterSource(name, parameter));
    }
  }
  return sources;
}

function* ancestors(name: string): Generator<string> {
  for (let end = name.lastIndexOf("."); end > 0; end = name.lastIndexOf(".", end - 1)) yield name.slice(0, end);
}

function linearSource(name: string, layer: Linear<Weight>): TensorSource {
  const { weight } = layer;
  const parts = layer.activeAdapters.flatMap((active) => layer.adapters.get(active) ?? []);
  if (weight instanceof Parameter && parts.length === 0) return parameterSource(name, weight);
  const merged = () => parts.reduce((current, part) => part.merge(current), fullWeight(weight));
  return {
    name,
    dtype: "float32",
    shape: weight.shape,
    read: async () => (await merged().data()) as Float32Array<ArrayBuffer>,
  };
}

function parameterSource(name: string, parameter: Parameter): TensorSource {
  const { dtype, shape } = parameter;
  const stored = dtype === "float16" || dtype === "bfloat16" ? dtype : "float32";
  return {
    name,
    dtype: stored,
    shape,
    read: async () => (await readParameters([parameter], { raw: true }))[0].data as StoredData,
  };
}

/** Returns the most common dtype by number of values, for config.json. */
function commonDtype(sources: readonly TensorSource[]): string {
  const sizes = new Map<string, number>();
  for (const { dtype, shape } of sources) {
    sizes.set(dtype, (sizes.get(dtype) ?? 0) + shape.reduce((a, b) => a * b, 1));
  }
  return [...sizes].sort(([, a], [, b]) => b - a)[0]?.[0] ?? "float32";
}

function generationConfig(model: CausalLM): Record<string, unknown> {
  const { config, generationConfig: ownConfig } = model;
  const stop = model.stopTokenIds;
  return {
    ...(config.bosTokenId === undefined ? {} : { bos_token_id: config.bosTokenId }),
    ...(config.padTokenId === undefined ? {} : { pad_token_id: config.padTokenId }),
    eos_token_id: stop.length === 1 ? stop[0] : stop,
    ...ownConfig,
  };
}
