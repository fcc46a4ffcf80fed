export type { AdaptedLayer, AdapterConfig } from "./adapter.ts";
export { type Adapter, attach, detach, fileParameters } from "./attach.ts";
export { AdapterError } from "./error.ts";
export { LoraConfig, type LoraOptions } from "./lora.ts";
export { parseAdapterConfig } from "./peft.ts";
