import { Embedding, type LayerAdapter, Linear, type Module, type Weight } from "../nn/index.ts";
import { AdapterError } from "./error.ts";

/** A linear layer that can have adapters. */
export type AdaptedLayer = Linear<Weight>;

/**
 * An adapter type with its settings: which layers it adapts, what it adds to each, and its file format. The
 * {@link LayerAdapter} that it creates computes and merges. Implement this for a new type of adapter.
 */
export interface AdapterConfig {
  /** PEFT's name of the type: "LORA". */
  readonly peftType: string;
  /**
   * Returns the layers to adapt, by name.
   * @param output name of the output layer, which "all-linear" excludes
   * @throws AdapterError when a module that the settings name does not exist or cannot be adapted
   */
  layers(model: Module, output: string | undefined): Map<string, AdaptedLayer>;
  /** Creates the adapter of one layer, without values. */
  create(name: string, layer: AdaptedLayer): LayerAdapter;
  /**
   * Initializes the adapter of one layer so that it does not change the layer's output.
   * @param seed any safe integer; each layer has its own random stream
   */
  start(part: LayerAdapter, name: string, layer: AdaptedLayer, seed: number): Promise<void>;
  /** Maps the names of a layer adapter's parameters to their names in PEFT's file. */
  fileNames(part: LayerAdapter, name: string): Map<string, string>;
  /** Returns the content of PEFT's `adapter_config.json`. */
  toFile(baseModel: string): Record<string, unknown>;
  /** Returns the settings to log. */
  settings(): Record<string, string | number | boolean>;
}

/** Whether a name matches a list of module names or a regular expression, by PEFT's rules. */
export function matches(name: string, target: string | readonly string[]): boolean {
  if (typeof target === "string") return new RegExp(`^(?:${target})$`).test(name);
  return target.some((one) => name === one || name.endsWith(`.${one}`));
}

/** Yields the modules of a model except those of adapters. */
export function* adaptable(model: Module): Generator<[name: string, module: Module]> {
  for (const [name, module] of model.namedModules()) if (!name.includes(".adapters.")) yield [name, module];
}

/** @throws AdapterError when the module is not a linear layer */
export function asLinear(name: string, module: Module): AdaptedLayer {
  if (module instanceof Linear) return module;
  const kind = module instanceof Embedding ? "an embedding" : `a ${module.constructor.name}`;
  throw new AdapterError(`${name} cannot have an adapter: it is ${kind}, not a linear layer.`);
}
