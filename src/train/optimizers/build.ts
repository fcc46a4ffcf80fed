import { Adafactor } from "./adafactor.ts";
import { Adam, AdamW } from "./adamw.ts";
import { Lion } from "./lion.ts";
import { Muon } from "./muon.ts";
import type { Optimizer } from "./optimizer.ts";
import { SGD } from "./sgd.ts";

/** Training options for optimizers that are created by name. */
export interface OptimizerSettings {
  weightDecay: number;
  maxGradNorm: number;
  adamBeta1: number;
  adamBeta2: number;
  adamEpsilon: number;
}

/** Names of optimizers. Each has its own defaults, overridden by the training options that apply to it. */
export type OptimizerName = "adamw" | "adam" | "sgd" | "lion" | "adafactor" | "muon";

const factories: Record<
  OptimizerName,
  (
    adam: { beta1: number; beta2: number; epsilon: number },
    common: { weightDecay: number; maxGradNorm: number },
  ) => Optimizer
> = {
  adamw: (adam, common) => new AdamW({ ...adam, ...common }),
  adam: (adam, common) => new Adam({ ...adam, ...common }),
  sgd: (_, common) => new SGD({ momentum: 0.9, ...common }),
  lion: (_, common) => new Lion(common),
  adafactor: (_, common) => new Adafactor(common),
  muon: (adam, common) => new Muon({ adamw: adam, ...common }),
};

/** All optimizer names. */
export const optimizerNames: readonly string[] = Object.keys(factories);

/** Returns the given optimizer instance, or creates the named one with the training options. */
export function buildOptimizer(optimizer: OptimizerName | Optimizer, settings: OptimizerSettings): Optimizer {
  if (typeof optimizer !== "string") return optimizer;
  const { weightDecay, maxGradNorm, adamBeta1: beta1, adamBeta2: beta2, adamEpsilon: epsilon } = settings;
  return factories[optimizer]({ beta1, beta2, epsilon }, { weightDecay, maxGradNorm });
}

/** Describes an optimizer: `lion (beta1 0.9, beta2 0.99, weightDecay 0)`. Equal settings give equal text. */
export function describeOptimizer({ name, settings, maxGradNorm }: Optimizer): string {
  const all = Number.isFinite(maxGradNorm) ? { ...settings, maxGradNorm } : settings;
  return `${name} (${Object.entries(all)
    .map(([key, value]) => `${key} ${value}`)
    .join(", ")})`;
}
