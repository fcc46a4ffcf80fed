export { compare } from "./compare.ts";
export { type EvaluateOptions, type EvaluationReport, evaluate, perplexity } from "./evaluate.ts";
export { type RougeScore, rougeL, rougeN } from "./rouge.ts";
