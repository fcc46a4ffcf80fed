export {
  CausalLM,
  type DecoderInputs,
  type DecoderOutput,
  type ForwardOptions,
  type KeyValueCache,
  type KeyValues,
  type Placement,
  type TokenLosses,
} from "./causal-lm.ts";
export { ModelError } from "./error.ts";
export {
  decodeSafetensors,
  encodeSafetensors,
  type HubOptions,
  readSafetensors,
  type ShardOptions,
  saveFolder,
  verifyFolder,
  writeFolder,
} from "./files/index.ts";
export type { GenerateOptions, Generation } from "./generate.ts";
export { countTrainedOn, noteTraining } from "./history.ts";
export type { FromPretrainedOptions } from "./load.ts";
export { type MeasureOptions, measureTokens, perplexity, type TokenMeasures } from "./measure.ts";
export { type Phi3Config, type Phi3Sizes, parsePhi3Config, phi3Config, toConfigFile } from "./phi3/config.ts";
export { Phi3ForCausalLM } from "./phi3/phi3.ts";
export { type RegisteredVersion, registerModel } from "./register.ts";
export type { SaveModelOptions } from "./save.ts";
