import { Dropout, fullWeight, init, LayerAdapter, Linear, linear, type Module } from "../nn/index.ts";
import { type Parameter, parameter, Random, stopGradient, type Tensor } from "../tensor/index.ts";
import { type AdaptedLayer, type AdapterConfig, adaptable, asLinear, matches } from "./adapter.ts";
import { AdapterError } from "./error.ts";

/** Settings of {@link LoraConfig}, named as in PEFT. */
export interface LoraOptions {
  /** Rank, at least 1. Default 16. */
  r?: number;
  /** Numerator of the scaling: the update is scaled by alpha / r (alpha / sqrt(r) with rsLoRA). Default 32. */
  loraAlpha?: number;
  /** Dropout on the input of A, in [0, 1). Default 0. */
  loraDropout?: number;
  /**
   * Linear layers to adapt: full names or their last parts, a regular expression of the full name, or "all-linear" for all
   * but the output layer. Default "all-linear".
   */
  targetModules?: string | readonly string[];
  /** Layers to exclude, in the form of `targetModules`. */
  excludeModules?: string | readonly string[];
  /** Indices of the decoder layers to adapt. Default: all. */
  layersToTransform?: readonly number[];
  /** Ranks of layers whose name ends with the key, a regular expression. */
  rankPattern?: Readonly<Record<string, number>>;
  /** Alphas of layers, in the same form. */
  alphaPattern?: Readonly<Record<string, number>>;
  /** Linear layers to train and save in full, in addition to the adapter. */
  modulesToSave?: readonly string[];
  /** Rank-stabilized scaling (Kalajdzievski 2023). Default false. */
  useRslora?: boolean;
  /** Weight-decomposed adaptation (Liu et al. 2024). Default false. */
  useDora?: boolean;
  /** Add a bias after B. Default false. */
  loraBias?: boolean;
}

/**
 * Configuration of a low-rank adapter (Hu et al. 2021): W x + s B A x, optionally with rsLoRA's scaling or DoRA's
 * magnitudes.
 *
 * @example
 * await train(model, { trainDataset, peftConfig: new LoraConfig({ r: 16, loraAlpha: 32 }) });
 */
export class LoraConfig implements AdapterConfig {
  readonly peftType = "LORA";
  readonly r: number;
  readonly loraAlpha: number;
  readonly loraDropout: number;
  readonly targetModules: string | readonly string[];
  readonly excludeModules: string | readonly string[] | undefined;
  readonly layersToTransform: readonly number[] | undefined;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  readonly modulesToSave: readonly string[];
  readonly useRslora: boolean;
  readonly useDora: boolean;
  readonly loraBias: boolean;

  /** @throws AdapterError naming the invalid setting */
  constructor(options: LoraOptions = {}) {
    this.r = options.r ?? 16;
    this.loraAlpha = options.loraAlpha ?? 32;
    this.loraDropout = options.loraDropout ?? 0;
    this.targetModules = options.targetModules ?? "all-linear";
    this.excludeModules = options.excludeModules;
    this.layersToTransform = options.layersToTransform;
    this.rankPattern = options.rankPattern ?? {};
    this.alphaPattern = options.alphaPattern ?? {};
    this.modulesToSave = options.modulesToSave ?? [];
    this.useRslora = options.useRslora ?? false;
    this.useDora = options.useDora ?? false;
    this.loraBias = options.loraBias ?? false;
    for (const r of [this.r, ...Object.values(this.rankPattern)]) {
      if (!Number.isInteger(r) || r < 1) throw new AdapterError(`LoRA's r must be an integer of at least 1, not ${r}.`);
    }
    for (const alpha of [this.loraAlpha, ...Object.values(this.alphaPattern)]) {
      if (!(alpha > 0)) throw new AdapterError(`loraAlpha must be above 0, not ${alpha}.`);
    }
    if (!(this.loraDropout >= 0 && this.loraDropout < 1)) {
      throw new AdapterError(`loraDropout must be in [0, 1), not ${this.loraDropout}.`);
    }
    for (const target of [this.targetModules, this.excludeModules ?? []]) {
      if (typeof target !== "string") continue;
      try {
        new RegExp(target);
      } catch (error) {
        throw new AdapterError(
          `${JSON.stringify(target)} is not a valid regular expression: ${(error as Error).message}.`,
        );
      }
    }
  }

  layers(model: Module, output: string | undefined): Map<string, AdaptedLayer> {
    const selected = new Map<string, AdaptedLayer>();
    const all = [...adaptable(model)];
    for (const [name, module] of all) {
      const isTarget =
        this.targetModules === "all-linear"
          ? module instanceof Linear && name !== output
          : matches(name, this.targetModules);
      if (!isTarget || !this.#inLayers(name) || (this.excludeModules && matches(name, this.excludeModules))) continue;
      selected.set(name, asLinear(name, module));
    }
    const available = () => [...new Set(all.filter(([, m]) => m instanceof Linear).map(([name]) => lastPart(name)))];
    const names = typeof this.targetModules === "string" ? [] : this.targetModules;
    const unknown = [...names, ...this.modulesToSave].filter(
      (target) => !all.some(([name]) => matches(name, [target])),
    );
    if (unknown.length > 0) {
      throw new AdapterError(
        `The model has no module ${unknown.join(" or ")}; its linear layers are ${available().join(", ")}.`,
      );
    }
    if (selected.size === 0 && this.modulesToSave.length === 0) {
      throw new AdapterError(
        `targetModules ${JSON.stringify(this.targetModules)} matches no layer; the model's linear layers are ${available().join(", ")}.`,
      );
    }
    for (const [name, module] of all) {
      if (matches(name, this.modulesToSave)) selected.set(name, asLinear(name, module));
    }
    return selected;
  }

  #inLayers(name: string): boolean {
    if (!this.layersToTransform) return true;
    const layer = /\.layers\.(\d+)\./.exec(name)?.[1];
    return layer !== undefined && this.layersToTransform.includes(Number(layer));
  }

  create(name: string, { weight: { shape } }: AdaptedLayer): LayerAdapter {
    const [out, width] = shape;
    if (matches(name, this.modulesToSave)) return new FullLayer(out, width);
    const r = lookUp(this.rankPattern, name) ?? this.r;
    const alpha = lookUp(this.alphaPattern, name) ?? this.loraAlpha;
    return new LoraLayer(width, out, r, this.useRslora ? alpha / Math.sqrt(r) : alpha / r, this);
  }

  async start(part: LayerAdapter, name: string, layer: AdaptedLayer, seed: number): Promise<void> {
    if (part instanceof FullLayer) {
      part.weight.set(await fullWeight(layer.weight).data());
      return;
    }
    for (const [key, parameter] of part.namedParameters()) {
      if (key === "lora_magnitude_vector") {
        parameter.set(await rowNorms(fullWeight(layer.weight)).data());
      } else {
        parameter.set(parameter.initializer(parameter.shape, new Random(seed, `init/${name}.${key}`)));
      }
    }
  }

  fileNames(part: LayerAdapter, name: string): Map<string, string> {
    const prefix = `base_model.model.${name}`;
    return new Map(
      [...part.namedParameters().keys()].map((key) => {
        if (key === "lora_A" || key === "lora_B") return [key, `${prefix}.${key}.weight`];
        return [key, key === "lora_B_bias" ? `${prefix}.lora_B.bias` : `${prefix}.${key}`];
      }),
    );
  }

  toFile(baseModel: string): Record<string, unknown> {
    return {
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      base_model_name_or_path: baseModel,
      r: this.r,
      lora_alpha: this.loraAlpha,
      lora_dropout: this.loraDropout,
      target_modules: this.targetModules,
      exclude_modules: this.excludeModules ?? null,
      layers_to_transform: this.layersToTransform ?? null,
      rank_pattern: this.rankPattern,
      alpha_pattern: this.alphaPattern,
      modules_to_save: this.modulesToSave.length > 0 ? this.modulesToSave : null,
      use_rslora: this.useRslora,
      use_dora: this.useDora,
      lora_bias: this.loraBias,
      bias: "none",
      fan_in_fan_out: false,
      init_lora_weights: true,
      inference_mode: true,
    };
  }

  settings(): Record<string, string | number | boolean> {
    const list = (names: string | readonly string[]) => (typeof names === "string" ? names : names.join(","));
    return {
      peft_type: this.peftType,
      lora_r: this.r,
      lora_alpha: this.loraAlpha,
      lora_dropout: this.loraDropout,
      target_modules: list(this.targetModules),
      use_rslora: this.useRslora,
      use_dora: this.useDora,
      ...(this.excludeModules ? { exclude_modules: list(this.excludeModules) } : {}),
      ...(this.layersToTransform ? { layers_to_transform: this.layersToTransform.join(",") } : {}),
      ...(Object.keys(this.rankPattern).length > 0 ? { rank_pattern: JSON.stringify(this.rankPattern) } : {}),
      ...(Object.keys(this.alphaPattern).length > 0 ? { alpha_pattern: JSON.stringify(this.alphaPattern) } : {}),
      ...(this.modulesToSave.length > 0 ? { modules_to_save: this.modulesToSave.join(",") } : {}),
      ...(this.loraBias ? { lora_bias: true } : {}),
    };
  }
}

const lastPart = (name: string) => name.slice(name.lastIndexOf(".") + 1);

/** Returns the value of the first key that matches the end of the name, as in PEFT. */
function lookUp(pattern: Readonly<Record<string, number>>, name: string): number | undefined {
  return Object.entries(pattern).find(([key]) => new RegExp(`^(?:.*\\.)?(?:${key})$`).test(name))?.[1];
}

const rowNorms = (weight: Tensor) => weight.square().sum([1]).sqrt();

/** LoRA on one layer. Fields are named as in PEFT's files. */
class LoraLayer extends LayerAdapter {
  readonly lora_A: Parameter;
  readonly lora_B: Parameter;
  readonly lora_B_bias?: Parameter;
  readonly lora_magnitude_vector?: Parameter;
  readonly dropout: Dropout;
  readonly #scaling: number;

  constructor(width: number, out: number, r: number, scaling: number, config: LoraConfig) {
    super();
    this.#scaling = scaling;
    // PEFT's Kaiming initialization is uniform within 1 / sqrt(in); B starts at zero.
    this.lora_A = parameter([r, width], init.uniform(-1 / Math.sqrt(width), 1 / Math.sqrt(width)));
    this.lora_B = parameter([out, r], init.constant(0));
    if (config.loraBias) this.lora_B_bias = parameter([out], init.constant(0));
    if (config.useDora) this.lora_magnitude_vector = parameter([out], init.constant(1));
    this.dropout = new Dropout(config.loraDropout);
  }

  forward(y: Tensor, x: Tensor, { weight }: AdaptedLayer): Tensor {
    const down = linear(this.dropout.forward(x), this.lora_A);
    const raised = linear(down, this.lora_B);
    const up = this.lora_B_bias ? raised.add(this.lora_B_bias) : raised;
    const adapted = y.add(up.mul(this.#scaling));
    if (!this.lora_magnitude_vector) return adapted;
    // The gradient treats the norm as a constant (Liu et al. 2024, section 4.3).
    const norm = stopGradient(rowNorms(this.#merged(fullWeight(weight))));
    return adapted.mul(this.lora_magnitude_vector.div(norm));
  }

  merge(weight: Tensor): Tensor {
    if (this.lora_B_bias) {
      throw new AdapterError("An adapter with loraBias cannot be merged: the layers have no bias to merge it into.");
    }
    const merged = this.#merged(weight);
    if (!this.lora_magnitude_vector) return merged;
    const factor = this.lora_magnitude_vector.div(rowNorms(merged));
    return merged.mul(factor.reshape([factor.size, 1]));
  }

  #merged(weight: Tensor): Tensor {
    return weight.add(this.lora_B.matmul(this.lora_A).mul(this.#scaling));
  }
}

/** A layer that is trained in full: its weight replaces the model's. */
class FullLayer extends LayerAdapter {
  readonly weight: Parameter;

  constructor(out: number, width: number) {
    super();
    this.weight = parameter([out, width], init.constant(0));
  }

  forward(_: Tensor, x: Tensor): Tensor {
    return linear(x, this.weight);
  }

  merge(): Tensor {
    return this.weight;
  }
}
