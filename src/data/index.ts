export { type Batch, collate, type Example, epochOrder, ignoreIndex, pack } from "./batch.ts";
