import type { LayerAdapter, Module } from "../nn/index.ts";
import type { Parameter } from "../tensor/index.ts";
import type { AdaptedLayer, AdapterConfig } from "./adapter.ts";
import { AdapterError } from "./error.ts";

/** An adapter of a model: its configuration, and its part on each layer. */
export interface Adapter {
  readonly config: AdapterConfig;
  readonly parts: ReadonlyMap<string, { layer: AdaptedLayer; part: LayerAdapter }>;
}

/**
 * Adds an adapter without values to a model's layers, without activating it.
 * @param output name of the output layer
 * @throws AdapterError when it does not fit the model, which is then unchanged
 */
export function attach(model: Module, name: string, config: AdapterConfig, output: string | undefined): Adapter {
  if (!/^[\w-]+$/.test(name))
    throw new AdapterError(`An adapter's name may have letters, digits, - and _, not "${name}".`);
  const created = [...config.layers(model, output)].map(([path, layer]) => {
    return { path, layer, part: config.create(path, layer) };
  });
  for (const { layer, part } of created) layer.adapters.set(name, part);
  return { config, parts: new Map(created.map(({ path, layer, part }) => [path, { layer, part }])) };
}

/** Removes an adapter from its layers. */
export function detach(name: string, { parts }: Adapter): void {
  for (const { layer } of parts.values()) {
    layer.activeAdapters = layer.activeAdapters.filter((active) => active !== name);
    layer.adapters.delete(name);
  }
}

/** Returns an adapter's parameters by their names in PEFT's file. */
export function fileParameters({ config, parts }: Adapter): Map<string, Parameter> {
  const named = new Map<string, Parameter>();
  for (const [path, { part }] of parts) {
    const parameters = part.namedParameters();
    for (const [key, name] of config.fileNames(part, path)) {
      const parameter = parameters.get(key);
      if (parameter) named.set(name, parameter);
    }
  }
  return named;
}
