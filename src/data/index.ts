export { type Batch, collate, type Example, epochOrder, ignoreIndex, pack, type TokenizedDataset } from "./batch.ts";
export { DataError, Dataset, type Row, type SplitOptions } from "./dataset.ts";
export { type LoadOptions, loadDataset } from "./load.ts";
export { type Instruction, tokenizeInstructions, tokenizeText } from "./tokenize.ts";
export { typescriptLibFiles } from "./typescript-lib.ts";
