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

/** How a model is read. */
export interface FromPretrainedOptions extends Placement, HubOptions {
  /** Folder of an adapter in PEFT's layout, put on top. */
  adapter?: string;
  /** Another tokenizer than the folder's. */
  tokenizer?: Tokenizer;
  /** Keeps the projections in fewer bits, for training an adapter on them: "nf4" (QLoRA) or "int8". */
  quantization?: Quantization;
  /**
   * What matrices are kept as. "auto", the default, keeps 16-bit floats as they are stored, for adapters and for use;
   * training every weight needs "float32".
   */
  dtype?: "auto" | "float32";
}

/**
 * Read a model: a folder in Hugging Face's layout, or one of the hub by its id.
 * @param build makes the model of a parsed config.json, without values
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
 * Bring the tensors of files to the device one at a time (two where they are quantised): no more is held on the host.
 * @throws ModelError when one is missing or has another shape than the settings say
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
  // Each token goes through the output layer: there 16 bits would be widened every time.
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
    // While one tensor is quantised, the next is read.
    const atOnce = quantizer ? 2 : 1;
    const queue = named.values();
    await Promise.all(
      Array.from({ length: atOnce }, async () => {
        for (const [name, parameter] of queue) await load(name, parameter);
      }),
    );
  } finally {
    await quantizer?.close();
  }
  model.namedParameters();
  progress.done();
}

/** Give a parameter its stored value; where that is kept in 16 bits, a parameter of that dtype takes its place. */
function fill(
  owner: Module,
  field: string,
  parameter: Parameter,
  stored: StoredTensor,
  dtype: "auto" | "float32",
): Parameter {
  const half = stored.dtype === "bfloat16" || stored.dtype === "float16";
  if (dtype === "auto" && half && stored.shape.length === 2) {
    const kept = new Parameter(parameter.shape, parameter.initializer, { dtype: stored.dtype as "bfloat16" });
    kept.path = parameter.path;
    kept.give(stored.data as Uint16Array<ArrayBuffer>);
    Object.assign(owner, { [field]: kept });
    return kept;
  }
  parameter.give(toFloat32(stored));
  return parameter;
}

function checkNames(model: CausalLM, files: ModelFiles): void {
  const wanted = model.namedParameters();
  for (const [name, { shape }] of wanted) {
    const info = files.info(name);
    if (!info) throw new ModelError(`${files.folder} lacks the tensor ${name}, which its config.json asks for.`);
    if (String(info.shape) !== String(shape)) {
      throw new ModelError(`${files.folder}: ${name} has shape [${info.shape}]; the settings ask for [${shape}].`);
    }
  }
  const extra = files.names().filter((name) => !wanted.has(name));
  const layer = extra.find((name) => /\.layers\.\d+\.(?!.*rotary_emb\.inv_freq)/.test(name));
  if (layer) {
    throw new ModelError(
      `${files.folder} holds ${layer}, and config.json has only ${model.config.numHiddenLayers} layers without it: the two do not belong together.`,
    );
  }
  const unused = extra.filter((name) => !(name === "lm_head.weight" && model.config.tieWordEmbeddings));
  if (unused.length > 0) {
    process.stderr.write(
      `${files.folder}: ${unused.length} tensors are not used: ${unused.slice(0, 5).join(", ")}${unused.length > 5 ? ", …" : ""}\n`,
    );
  }
}
