export * from "./attention.ts";
export * from "./cross-entropy.ts";
export { init } from "./init.ts";
export * from "./layers.ts";
export { CompressedWeight, fullWeight, LayerAdapter, Linear, linear, type Precision, type Weight } from "./linear.ts";
export * from "./losses.ts";
export { Module } from "./module.ts";
