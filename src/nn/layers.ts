import {
  type ConvolutionOptions,
  conv1d,
  conv2d,
  dropout,
  gather,
  input,
  layerNorm,
  type Parameter,
  parameter,
  randomKey,
  rmsNorm,
  type Tensor,
} from "../tensor/index.ts";
import { init } from "./init.ts";
import { linear } from "./linear.ts";
import { Module } from "./module.ts";

/** PyTorch's bias: uniform within 1 / sqrt(inputs of an output). */
const biasInit = (fanIn: number) => init.uniform(-1 / Math.sqrt(fanIn), 1 / Math.sqrt(fanIn));

/** x W^T + b over the last axis. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias?: Parameter;

  /** @param options.bias default true */
  constructor(inFeatures: number, outFeatures: number, { bias = true }: { bias?: boolean } = {}) {
    super();
    this.weight = parameter([outFeatures, inFeatures], init.kaimingUniform());
    if (bias) this.bias = parameter([outFeatures], biasInit(inFeatures));
  }

  forward(x: Tensor): Tensor {
    const rows = x.reshape([-1, this.weight.shape[1]]);
    const y = linear(rows, this.weight).reshape([...x.shape.slice(0, -1), this.weight.shape[0]]);
    return this.bias ? y.add(this.bias) : y;
  }
}

/** Options of the convolution layers. */
export interface ConvOptions extends ConvolutionOptions {
  /** Default true. */
  bias?: boolean;
}

/** Convolution over x [n, in, length]. */
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

/** Convolution over x [n, in, height, width]. */
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

/** A row of a table for each index (int32). */
export class Embedding extends Module {
  readonly weight: Parameter;

  constructor(count: number, width: number) {
    super();
    this.weight = parameter([count, width], init.normal());
  }

  forward(indices: Tensor): Tensor {
    return gather(this.weight, indices);
  }
}

/** Layer normalisation over the last axis (Ba et al. 2016). */
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

/** Normalisation by the root mean square over the last axis (Zhang & Sennrich 2019). */
export class RMSNorm extends Module {
  readonly weight: Parameter;
  readonly epsilon: number;

  constructor(width: number, epsilon = 1e-6) {
    super();
    this.epsilon = epsilon;
    this.weight = parameter([width], init.constant(1));
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, this.epsilon);
  }
}

/** Drops elements at random while training, others at each run, the same ones for the same seed (Srivastava et al. 2014). */
export class Dropout extends Module {
  readonly rate: number;
  readonly #key: Tensor;
  #runs = 0;

  /**
   * @param rate share of elements dropped, in [0, 1)
   * @param seed any safe integer; another for each layer, or they drop the same elements
   */
  constructor(rate: number, seed: number) {
    super();
    if (!(rate >= 0 && rate < 1)) throw new RangeError(`Dropout's rate must lie in [0, 1), not ${rate}`);
    this.rate = rate;
    this.#key = input(`dropout key ${count++}`, [], "int32", () =>
      Int32Array.of(randomKey(seed, `dropout/${this.#runs++}`)),
    );
  }

  forward(x: Tensor): Tensor {
    return this.training ? dropout(x, this.rate, this.#key, "") : x;
  }
}

let count = 0;

/** Modules and functions of tensors, one after the other. */
export class Sequential extends Module {
  readonly layers: readonly (Module | ((x: Tensor) => Tensor))[];

  constructor(...layers: readonly (Module | ((x: Tensor) => Tensor))[]) {
    super();
    this.layers = layers;
  }

  forward(x: Tensor): Tensor {
    return this.layers.reduce((h, layer) => (layer instanceof Module ? layer.forward(h) : layer(h)), x);
  }
}
