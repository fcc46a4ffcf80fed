export {
  type Batch,
  collate,
  type Example,
  epochOrder,
  ignoreIndex,
  longestOf,
  pack,
  type TokenizedDataset,
} from "./batch.ts";
export { DataError, Dataset, type Row, type SplitOptions } from "./dataset.ts";
export { type LoadOptions, loadDataset } from "./load.ts";
export { DataLoader, type DataLoaderOptions, type ItemSource, type Stacked } from "./loader.ts";
export { asDataset, chatOf, isTokenized, type TrainingData, tokenizeRows } from "./rows.ts";
export { tokenizeText } from "./tokenize.ts";
export { typescriptLibFiles } from "./typescript-lib.ts";
