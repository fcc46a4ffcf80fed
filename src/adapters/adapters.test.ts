import { expect, test } from "vitest";
import { Linear, Sequential } from "../nn/index.ts";
import { AdapterError, LoraConfig, parseAdapterConfig } from "./index.ts";

test("LoRA settings round-trip through PEFT's file format", () => {
  const config = new LoraConfig({ r: 4, loraAlpha: 8, targetModules: ["0"], useRslora: true });
  const file = config.toFile("base");
  expect(file).toMatchObject({
    peft_type: "LORA",
    r: 4,
    lora_alpha: 8,
    use_rslora: true,
    base_model_name_or_path: "base",
  });
  expect(parseAdapterConfig(JSON.parse(JSON.stringify(file))).settings()).toEqual(config.settings());
});

test("an invalid adapter_config.json causes an error that names the problem", () => {
  const file = new LoraConfig({ targetModules: ["q"] }).toFile("base");
  expect(() => parseAdapterConfig({ ...file, peft_type: "IA3" })).toThrow('only "LORA" is supported');
  expect(() => parseAdapterConfig({ ...file, r: 0 })).toThrow(AdapterError);
  expect(() => parseAdapterConfig({ ...file, fan_in_fan_out: true })).toThrow("fan_in_fan_out");
});

test("settings out of range and unknown modules cause errors that name them", () => {
  expect(() => new LoraConfig({ r: 0 })).toThrow(AdapterError);
  expect(() => new LoraConfig({ loraDropout: 1 })).toThrow(AdapterError);
  const model = new Sequential(new Linear(2, 3), new Linear(3, 2));
  expect([...new LoraConfig().layers(model, "layers.1").keys()]).toEqual(["layers.0"]);
  expect(() => new LoraConfig({ targetModules: ["nowhere"] }).layers(model, undefined)).toThrow(AdapterError);
});
