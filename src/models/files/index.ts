export {
  type StoredData,
  type StoredDType,
  type StoredTensor,
  toFloat32,
  toHostValue,
} from "./dtypes.ts";
export { type Files, type FolderWriter, type SaveOptions, saveFolder, verifyFolder, writeFolder } from "./folder.ts";
export type { TensorInfo } from "./header.ts";
export { type HubOptions, type HubProgress, resolveModel } from "./hub.ts";
export { decodeSafetensors, encodeSafetensors, readSafetensors, SafetensorsFile } from "./safetensors.ts";
export { ModelFiles } from "./sharded.ts";
export {
  type ShardOptions,
  type Sources,
  type TensorSource,
  type WrittenFile,
  writeSafetensors,
  writeShards,
} from "./write.ts";
