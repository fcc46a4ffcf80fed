import { Embedding, type LayerAdapter, Linear, type Module, type Weight } from "../nn/index.ts";
import { AdapterError } from "./error.ts";

/** A linear layer that can carry adapters. */
export type AdaptedLayer = Linear<Weight>;

/**
 * One kind of adapter with its settings: which layers it goes on, what it adds to one, and how its file looks. How it
 * computes and merges is in the {@link LayerAdapter} that it makes. A new kind is a class of this.
 */
export interface AdapterConfig {
  /** PEFT's name of the kind: "LORA". */
  readonly peftType: string;
  /**
   * The layers that it goes on, by name.
   * @param output name of the output layer, which "all linear layers" leaves out
   * @throws AdapterError when a module that it names is not there, or cannot carry it
   */
  layers(model: Module, output: string | undefined): Map<string, AdaptedLayer>;
  /** A part for one layer, without values. */
  create(name: string, layer: AdaptedLayer): LayerAdapter;
  /**
   * Draw the first values of one layer's part, with which the model's answers do not change.
   * @param seed any safe integer; each layer draws from a stream of its own name
   */
  start(part: LayerAdapter, name: string, layer: AdaptedLayer, seed: number): Promise<void>;
  /** Names in PEFT's file of the parameters of one layer's part, by their names in it. */
  fileNames(part: LayerAdapter, name: string): Map<string, string>;
  /** The content of PEFT's `adapter_config.json`. */
  toFile(baseModel: string): Record<string, unknown>;
  /** The settings as a run logs them. */
  settings(): Record<string, string | number | boolean>;
}

/** What a list of module names, a regular expression, or "all-linear" picks, by PEFT's rules. */
export function matches(name: string, target: string | readonly string[]): boolean {
  if (typeof target === "string") return new RegExp(`^(?:${target})$`).test(name);
  return target.some((one) => name === one || name.endsWith(`.${one}`));
}

/** Every module of a model that an adapter may be asked to go on: not the parts of other adapters. */
export function* adaptable(model: Module): Generator<[name: string, module: Module]> {
  for (const [name, module] of model.namedModules()) if (!name.includes(".adapters.")) yield [name, module];
}

/** @throws AdapterError when the module is no linear layer */
export function asLinear(name: string, module: Module): AdaptedLayer {
  if (module instanceof Linear) return module;
  const kind = module instanceof Embedding ? "an embedding" : `a ${module.constructor.name}`;
  throw new AdapterError(`An adapter on ${name} is not supported: it is ${kind}; linear layers are.`);
}
