export { compare } from "./compare.ts";
export { type EvaluateOptions, type EvaluationReport, evaluate } from "./evaluate.ts";
export { type RougeScore, type RougeWords, rougeL, rougeN } from "./rouge.ts";
