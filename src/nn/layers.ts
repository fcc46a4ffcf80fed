import {
  activeRecording,
  type ConvolutionOptions,
  conv1d,
  conv2d,
  dropout,
  equal,
  gather,
  input,
  layerNorm,
  type Parameter,
  parameter,
  type Recording,
  randomKey,
  rmsNorm,
  stopGradient,
  type Tensor,
  where,
} from "../tensor/index.ts";
import { init } from "./init.ts";
import { biasInit } from "./linear.ts";
import { Module } from "./module.ts";

/** Options of the convolution layers. */
export interface ConvOptions extends ConvolutionOptions {
  /** Default true. */
  bias?: boolean;
}

/** 1D convolution over x [n, in, length]. */
export class Conv1d extends Module {
  readonly weight: Parameter;
  readonly bias?: Parameter;
  readonly options: ConvOptions;

  constructor(inChannels: number, outChannels: number, kernelSize: number, options: ConvOptions = {}) {
    super();
    this.options = options;
    const inner = inChannels / (options.groups ?? 1);
    this.weight = parameter([outChannels, inner, kernelSize], init.kaimingUniform());
    if (options.bias ?? true) this.bias = parameter([outChannels], biasInit(inner * kernelSize));
  }

  forward(x: Tensor): Tensor {
    const y = conv1d(x, this.weight, this.options);
    return this.bias ? y.add(this.bias.reshape([-1, 1])) : y;
  }
}

/** 2D convolution over x [n, in, height, width]. */
export class Conv2d extends Module {
  readonly weight: Parameter;
  readonly bias?: Parameter;
  readonly options: ConvOptions;

  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: number | readonly [number, number],
    options: ConvOptions = {},
  ) {
    super();
    this.options = options;
    const [height, width] = typeof kernelSize === "number" ? [kernelSize, kernelSize] : kernelSize;
    const inner = inChannels / (options.groups ?? 1);
    this.weight = parameter([outChannels, inner, height, width], init.kaimingUniform());
    if (options.bias ?? true) this.bias = parameter([outChannels], biasInit(inner * height * width));
  }

  forward(x: Tensor): Tensor {
    const y = conv2d(x, this.weight, this.options);
    return this.bias ? y.add(this.bias.reshape([-1, 1, 1])) : y;
  }
}

/** Lookup table: returns the row of each int32 index. */
export class Embedding extends Module {
  weight: Parameter;
  readonly paddingIdx: number | undefined;

  /** @param options.paddingIdx index of a row that gets no gradient, as in PyTorch */
  constructor(numEmbeddings: number, embeddingDim: number, { paddingIdx }: { paddingIdx?: number | undefined } = {}) {
    super();
    this.paddingIdx = paddingIdx;
    this.weight = parameter([numEmbeddings, embeddingDim], init.normal());
  }

  forward(indices: Tensor): Tensor {
    const rows = gather(this.weight, indices);
    const floats = rows.dtype === "float32" ? rows : rows.cast("float32");
    if (this.paddingIdx === undefined) return floats;
    return where(equal(indices, this.paddingIdx).reshape([...indices.shape, 1]), stopGradient(floats), floats);
  }
}

/** Layer normalization over the last axis (Ba et al. 2016). */
export class LayerNorm extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly epsilon: number;

  constructor(width: number, epsilon = 1e-5) {
    super();
    this.epsilon = epsilon;
    this.weight = parameter([width], init.constant(1));
    this.bias = parameter([width], init.constant(0));
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, this.epsilon);
  }
}

/** Root mean square normalization over the last axis (Zhang & Sennrich 2019). */
export class RMSNorm extends Module {
  weight: Parameter;
  readonly epsilon: number;

  constructor(width: number, epsilon = 1e-6) {
    super();
    this.epsilon = epsilon;
    this.weight = parameter([width], init.constant(1));
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight.dtype === x.dtype ? this.weight : this.weight.cast(x.dtype), this.epsilon);
  }
}

/**
 * Randomly zeroes elements during training (Srivastava et al. 2014), with a different mask for each layer, use and run. The
 * masks are determined by the seed of `model.initialize(seed)` and the layer's name in the model.
 */
export class Dropout extends Module {
  readonly p: number;
  readonly #key: Tensor;
  #seed = 0;
  #name: string;
  #runs = 0;

  /** @param p fraction of elements to drop, in [0, 1) */
  constructor(p = 0.5) {
    super();
    if (!(p >= 0 && p < 1)) throw new RangeError(`Dropout's p must be in [0, 1), not ${p}`);
    this.p = p;
    this.#name = `layer ${count}`;
    this.#key = input(`dropout key ${count++}`, [], "int32", () =>
      Int32Array.of(randomKey(this.#seed, `dropout/${this.#name}/${this.#runs++}`)),
    );
  }

  protected override onSeed(seed: number, name: string, runs: number): void {
    this.#seed = seed;
    this.#name = name;
    this.#runs = runs;
  }

  forward(x: Tensor): Tensor {
    return this.training ? dropout(x, this.p, this.#key, streamOf(this.#key)) : x;
  }
}

/** Returns "", "1", "2", ... for successive uses of a dropout layer in the program that is being built. */
function streamOf(key: Tensor): string {
  const recording = activeRecording();
  if (!recording) return "";
  const uses = usesIn.get(recording) ?? new Map<Tensor, number>();
  usesIn.set(recording, uses);
  const use = uses.get(key) ?? 0;
  uses.set(key, use + 1);
  return use === 0 ? "" : String(use);
}

const usesIn = new WeakMap<Recording, Map<Tensor, number>>();

let count = 0;

/** A module or a function with one tensor as input and output. */
export type Layer = (Module & { forward(x: Tensor): Tensor }) | ((x: Tensor) => Tensor);

/** Applies modules and functions of tensors one after the other. */
export class Sequential extends Module {
  readonly layers: readonly Layer[];

  constructor(...layers: readonly Layer[]) {
    super();
    this.layers = layers;
  }

  forward(x: Tensor): Tensor {
    return this.layers.reduce((h, layer) => (layer instanceof Module ? layer.forward(h) : layer(h)), x);
  }
}
