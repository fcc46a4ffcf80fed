export * from "./files/index.ts";
export type { GenerateOptions, Generation } from "./generate.ts";
export { type MeasureOptions, measureTokens, perplexity, type TokenMeasures } from "./measure.ts";
export { type AdapterOptions, batchInputs, LanguageModel, type PlacementOptions, type TokenLosses } from "./model.ts";
export {
  ModelError,
  type Phi3Config,
  type Phi3Sizes,
  parsePhi3Config,
  phi3Config,
  toConfigFile,
} from "./phi3/config.ts";
export type { Quantization } from "./quantize.ts";
export { type RegisteredVersion, registerModel } from "./register.ts";
