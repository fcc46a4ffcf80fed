import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import type { AdapterConfig } from "./adapter.ts";
import { AdapterError } from "./error.ts";
import { LoraConfig } from "./lora.ts";

const names = Type.Union([Type.String(), Type.Array(Type.String(), { minItems: 1 })]);
const numbers = Type.Record(Type.String(), Type.Number());
const orNull = <T extends Parameters<typeof Type.Union>[0][number]>(type: T) =>
  Type.Optional(Type.Union([type, Type.Null()]));

/** The supported fields of PEFT's `adapter_config.json` for LoRA. */
const LoraFile = Type.Object({
  peft_type: Type.Literal("LORA"),
  r: Type.Integer({ minimum: 1 }),
  lora_alpha: Type.Number(),
  lora_dropout: orNull(Type.Number()),
  target_modules: names,
  exclude_modules: orNull(names),
  layers_to_transform: orNull(Type.Union([Type.Integer(), Type.Array(Type.Integer())])),
  rank_pattern: orNull(numbers),
  alpha_pattern: orNull(numbers),
  modules_to_save: orNull(Type.Array(Type.String())),
  use_rslora: orNull(Type.Boolean()),
  use_dora: orNull(Type.Boolean()),
  lora_bias: orNull(Type.Boolean()),
});

/** Fields that change the adapter's computation and are not supported, with the values that have no effect. */
const mustBe: Readonly<Record<string, readonly unknown[]>> = {
  fan_in_fan_out: [false],
  // The other initializations change the base model's weights too.
  init_lora_weights: [true, false, "gaussian", "orthogonal", "eva"],
  trainable_token_indices: [],
  target_parameters: [],
  layer_replication: [],
  layers_pattern: [],
  alora_invocation_tokens: [],
  arrow_config: [],
  use_qalora: [false],
  use_bdlora: [false],
  megatron_config: [],
};

const isEmpty = (value: unknown) =>
  value === undefined || value === null || (typeof value === "object" && Object.keys(value).length === 0);

/**
 * Parses the content of an `adapter_config.json`.
 * @throws AdapterError naming the field that is invalid or not supported
 */
export function parseAdapterConfig(json: unknown): AdapterConfig {
  const problem = Value.Errors(LoraFile, json).First();
  if (problem) {
    const actual = JSON.stringify(problem.value) ?? "nothing";
    const why = problem.path === "/peft_type" ? 'only "LORA" is supported' : problem.message.toLowerCase();
    throw new AdapterError(`adapter_config.json: ${problem.path || "/"} is ${actual}; ${why}.`);
  }
  for (const [field, allowed] of Object.entries(mustBe)) {
    const value = (json as Record<string, unknown>)[field];
    if (isEmpty(value) || allowed.includes(value)) continue;
    throw new AdapterError(`adapter_config.json: ${field} is ${JSON.stringify(value)}, which is not supported.`);
  }
  const file = json as Static<typeof LoraFile>;
  const layers = file.layers_to_transform ?? undefined;
  return new LoraConfig({
    r: file.r,
    loraAlpha: file.lora_alpha,
    loraDropout: file.lora_dropout ?? 0,
    targetModules: file.target_modules,
    ...(isEmpty(file.exclude_modules) ? {} : { excludeModules: file.exclude_modules as string | string[] }),
    ...(layers === undefined ? {} : { layersToTransform: typeof layers === "number" ? [layers] : layers }),
    rankPattern: file.rank_pattern ?? {},
    alphaPattern: file.alpha_pattern ?? {},
    modulesToSave: file.modules_to_save ?? [],
    useRslora: file.use_rslora ?? false,
    useDora: file.use_dora ?? false,
    loraBias: file.lora_bias ?? false,
  });
}
