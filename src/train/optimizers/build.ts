import { Adafactor } from "./adafactor.ts";
import { Adam, AdamW } from "./adamw.ts";
import { Lion } from "./lion.ts";
import { Muon } from "./muon.ts";
import type { Optimizer } from "./optimizer.ts";
import { SGD } from "./sgd.ts";

/** What a training sets for an optimizer that it makes by name. */
export interface OptimizerSettings {
  weightDecay: number;
  maxGradNorm: number;
  adamBeta1: number;
  adamBeta2: number;
  adamEpsilon: number;
}

/** An optimizer by its name: each with its own defaults, and with the training's settings where it has them. */
export type OptimizerName = "adamw" | "adam" | "sgd" | "lion" | "adafactor" | "muon";

const makers: Record<
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

/** All that can be named. */
export const optimizerNames: readonly string[] = Object.keys(makers);

/** The optimizer of a training: the one that was made by hand, or the named one with the training's settings. */
export function buildOptimizer(given: OptimizerName | Optimizer, settings: OptimizerSettings): Optimizer {
  if (typeof given !== "string") return given;
  const { weightDecay, maxGradNorm, adamBeta1: beta1, adamBeta2: beta2, adamEpsilon: epsilon } = settings;
  return makers[given]({ beta1, beta2, epsilon }, { weightDecay, maxGradNorm });
}

/** `lion (beta1 0.9, beta2 0.99, weightDecay 0)`: the same words for the same settings. */
export function describeOptimizer({ name, settings, maxGradNorm }: Optimizer): string {
  const all = Number.isFinite(maxGradNorm) ? { ...settings, maxGradNorm } : settings;
  return `${name} (${Object.entries(all)
    .map(([key, value]) => `${key} ${value}`)
    .join(", ")})`;
}
