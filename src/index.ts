/**
 * Anneal: fine-tune small language models in TypeScript, with everything tracked.
 *
 * @packageDocumentation
 */
export * from "./adapters/index.ts";
export * from "./data/index.ts";
export * from "./display/index.ts";
export * from "./engine/index.ts";
export * from "./evaluate/index.ts";
export * from "./models/index.ts";
export * from "./nn/index.ts";
export * from "./quantize/index.ts";
export * from "./tensor/index.ts";
export * from "./text/index.ts";
export * from "./track/index.ts";
export * from "./train/index.ts";
