export { init } from "./init.ts";
export * from "./layers.ts";
export * from "./linear.ts";
export * from "./lora.ts";
export * from "./losses.ts";
export { Module } from "./module.ts";
