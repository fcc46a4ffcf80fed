export * from "./linear.ts";
export * from "./lora.ts";
