import { join } from "node:path";
import { Progress } from "../display/index.ts";
import { releaseParameters, settleParameters } from "../engine/index.ts";
import type { Module } from "../nn/index.ts";
import { compress, openQuantizer, type Quantization } from "../quantize/index.ts";
import { Parameter } from "../tensor/index.ts";
import { Tokenizer } from "../text/index.ts";
import { type CausalLM, checkQuantizable, type Placement } from "./causal-lm.ts";
import { ModelError } from "./error.ts";
import { type HubOptions, resolveModel } from "./files/hub.ts";
import { ModelFiles, type StoredTensor, toFloat32, verifyFolder } from "./files/index.ts";
import { readJson } from "./json.ts";

/** Options of `fromPretrained`. */
export interface FromPretrainedOptions extends Placement, HubOptions {
  /** Folder of an adapter in PEFT's layout to load onto the model. */
  adapter?: string;
  /** A tokenizer to use instead of the folder's. */
  tokenizer?: Tokenizer;
  /** Quantizes the projections, for training an adapter on them: "nf4" (QLoRA) or "int8". */
  quantization?: Quantization;
  /**
   * Dtype of matrices. "auto" (default) keeps 16-bit floats in their stored dtype, for adapters and inference; full
   * training needs "float32".
   */
  dtype?: "auto" | "float32";
}

/**
 * Loads a model from a folder in Hugging Face's layout, or from the hub by its id.
 * @param build creates a model without values from a parsed config.json
 */
export async function loadModel<M extends CausalLM>(
  idOrFolder: string,
  options: FromPretrainedOptions,
  build: (config: unknown, tokenizer: Tokenizer) => M,
): Promise<M> {
  const folder = await resolveModel(idOrFolder, options);
  await verifyFolder(folder);
  const config = await readJson(join(folder, "config.json"));
  const tokenizer = options.tokenizer ?? (await Tokenizer.load(folder));
  const model = build(config, tokenizer).eval();
  model.nameOrPath = idOrFolder;
  const generation = await readJson(join(folder, "generation_config.json")).catch((error) => {
    if (/There is no file/.test((error as Error).message)) return {};
    throw error;
  });
  model.generationConfig = generation as Record<string, unknown>;
  const files = await ModelFiles.open(folder);
  try {
    await loadWeights(model, files, options);
  } catch (error) {
    await releaseParameters(model.parameters());
    throw error;
  } finally {
    await files.close();
  }
  if (options.adapter !== undefined) await model.loadAdapter(options.adapter);
  return model;
}

/**
 * Loads the tensors of files to the device one at a time (two when quantizing), which limits host memory.
 * @throws ModelError when a tensor is missing or does not have the configured shape
 */
async function loadWeights(
  model: CausalLM,
  files: ModelFiles,
  { quantization, dtype = "auto" }: FromPretrainedOptions,
): Promise<void> {
  checkNames(model, files);
  const engine = await model.engine();
  if (quantization !== undefined) checkQuantizable(quantization, engine);
  const modules = model.namedModules();
  const projections = quantization === undefined ? new Map() : model.projections();
  const quantizer = quantization === undefined ? undefined : openQuantizer(2);
  // The output layer is used for each token, so 16-bit weights would be widened each time.
  const output = model.outputName();
  const progress = new Progress(`loading ${files.folder}`);
  const named = [...model.namedParameters()];
  let done = 0;
  const load = async (name: string, parameter: Parameter): Promise<void> => {
    const stored = await files.read(name);
    const [path, field] = [name.slice(0, name.lastIndexOf(".")), name.slice(name.lastIndexOf(".") + 1)];
    const owner = modules.get(path) as Module;
    let placed: Parameter[];
    if (quantization !== undefined && quantizer && projections.has(path)) {
      const bits = stored.dtype === "bfloat16" ? (stored.data as Uint16Array) : toFloat32(stored);
      const weight = await compress(quantization, stored.shape, bits, quantizer);
      Object.assign(owner, { weight });
      placed = weight.parameters();
    } else {
      placed = [
        fill(owner, field, parameter, stored, quantization !== undefined && path === output ? "float32" : dtype),
      ];
    }
    await settleParameters(engine, placed);
    progress.show(++done, named.length, "tensors");
  };
  try {
    // The next tensor is read while one is quantized.
    const concurrency = quantizer ? 2 : 1;
    const queue = named.values();
    await Promise.all(
      Array.from({ length: concurrency }, async () => {
        for (const [name, parameter] of queue) await load(name, parameter);
      }),
    );
  } finally {
    await quantizer?.close();
  }
  model.namedParameters();
  progress.done();
}

/** Sets a parameter to its stored value; replaces it by one of the stored dtype if that is 16-bit and kept. */
function fill(
  owner: Module,
  field: string,
  parameter: Parameter,
  stored: StoredTensor,
  dtype: "auto" | "float32",
): Parameter {
  const half = stored.dtype === "bfloat16" || stored.dtype === "float16";
  if (dtype === "auto" && half && stored.shape.length === 2) {
    const half16 = new Parameter(parameter.shape, parameter.initializer, { dtype: stored.dtype as "bfloat16" });
    half16.path = parameter.path;
    half16.give(stored.data as Uint16Array<ArrayBuffer>);
    Object.assign(owner, { [field]: half16 });
    return half16;
  }
  parameter.give(toFloat32(stored));
  return parameter;
}

function checkNames(model: CausalLM, files: ModelFiles): void {
  const expected = model.namedParameters();
  for (const [name, { shape }] of expected) {
    const info = files.info(name);
    if (!info) throw new ModelError(`${files.folder} lacks the tensor ${name}, which its config.json requires.`);
    if (String(info.shape) !== String(shape)) {
      throw new ModelError(
        `${files.folder}: ${name} has shape [${info.shape}], but the configuration requires [${shape}].`,
      );
    }
  }
  const extra = files.names().filter((name) => !expected.has(name));
  const layer = extra.find((name) => /\.layers\.\d+\.(?!.*rotary_emb\.inv_freq)/.test(name));
  if (layer) {
    throw new ModelError(
      `${files.folder} contains ${layer}, but config.json has only ${model.config.numHiddenLayers} layers, without it: the two do not match.`,
    );
  }
  const unused = extra.filter((name) => !(name === "lm_head.weight" && model.config.tieWordEmbeddings));
  if (unused.length > 0) {
    process.stderr.write(
      `${files.folder}: ${unused.length} tensors are unused: ${unused.slice(0, 5).join(", ")}${unused.length > 5 ? ", …" : ""}\n`,
    );
  }
}
