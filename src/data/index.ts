export { type Batch, collate, type Example, epochOrder, ignoreIndex, pack, type TokenizedDataset } from "./batch.ts";
