import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import type { LoraConfig } from "../nn/index.ts";
import type { HostValue } from "../tensor/index.ts";
import { encodeSafetensors, type Files } from "./files/index.ts";
import { ModelError } from "./phi3/config.ts";

/** What we read of PEFT's `adapter_config.json`. */
const AdapterFile = Type.Object({
  peft_type: Type.Literal("LORA"),
  r: Type.Integer({ minimum: 1 }),
  lora_alpha: Type.Number(),
  target_modules: Type.Array(Type.String(), { minItems: 1 }),
  use_rslora: Type.Optional(Type.Boolean()),
  use_dora: Type.Optional(Type.Boolean()),
});

/**
 * Read a parsed `adapter_config.json`.
 * @throws ModelError naming the field that is wrong
 */
export function parseAdapterConfig(json: unknown): LoraConfig {
  const problem = Value.Errors(AdapterFile, json).First();
  if (problem) {
    const given = JSON.stringify(problem.value) ?? "nothing";
    throw new ModelError(`adapter_config.json: ${problem.path || "/"} is ${given}; ${problem.message.toLowerCase()}.`);
  }
  const file = json as Static<typeof AdapterFile>;
  return {
    r: file.r,
    loraAlpha: file.lora_alpha,
    targetModules: file.target_modules,
    useRslora: file.use_rslora ?? false,
    useDora: file.use_dora ?? false,
  };
}

/** An adapter's files, as PEFT reads them. */
export function adapterFiles(
  config: LoraConfig,
  baseModel: string,
  values: Readonly<Record<string, HostValue>>,
): Files {
  const file = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModel,
    r: config.r,
    lora_alpha: config.loraAlpha,
    lora_dropout: 0,
    target_modules: [...config.targetModules],
    use_rslora: config.useRslora ?? false,
    use_dora: config.useDora ?? false,
    bias: "none",
    fan_in_fan_out: false,
    init_lora_weights: true,
    inference_mode: true,
  };
  return {
    "adapter_config.json": JSON.stringify(file, null, 2),
    "adapter_model.safetensors": encodeSafetensors(values),
  };
}
