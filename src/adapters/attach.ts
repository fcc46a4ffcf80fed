import type { LayerAdapter, Module } from "../nn/index.ts";
import type { Parameter } from "../tensor/index.ts";
import type { AdaptedLayer, AdapterConfig } from "./adapter.ts";
import { AdapterError } from "./error.ts";

/** An adapter on a model: its settings, and its part on each layer. */
export interface Adapter {
  readonly config: AdapterConfig;
  readonly parts: ReadonlyMap<string, { layer: AdaptedLayer; part: LayerAdapter }>;
}

/**
 * Put an adapter without values on a model's layers. It is not in use yet.
 * @param output name of the output layer
 * @throws AdapterError when it does not fit the model; nothing is changed then
 */
export function attach(model: Module, name: string, config: AdapterConfig, output: string | undefined): Adapter {
  if (!/^[\w-]+$/.test(name)) throw new AdapterError(`An adapter's name has letters, digits, - and _, not "${name}".`);
  const made = [...config.layers(model, output)].map(([path, layer]) => {
    return { path, layer, part: config.create(path, layer) };
  });
  for (const { layer, part } of made) layer.adapters.set(name, part);
  return { config, parts: new Map(made.map(({ path, layer, part }) => [path, { layer, part }])) };
}

/** Take an adapter off its layers. */
export function detach(name: string, { parts }: Adapter): void {
  for (const { layer } of parts.values()) {
    layer.activeAdapters = layer.activeAdapters.filter((active) => active !== name);
    layer.adapters.delete(name);
  }
}

/** The parameters of an adapter by their names in PEFT's file. */
export function fileParameters({ config, parts }: Adapter): Map<string, Parameter> {
  const found = new Map<string, Parameter>();
  for (const [path, { part }] of parts) {
    const parameters = part.namedParameters();
    for (const [key, name] of config.fileNames(part, path)) {
      const own = parameters.get(key);
      if (own) found.set(name, own);
    }
  }
  return found;
}
