import { isGuarded } from "../store/aliases.ts";
import type { Judged, Store } from "../store/store.ts";
import type { Gate, GateOperator, GateResult, Metric, ModelVersion } from "../store/types.ts";
import { orNull } from "./origin.ts";

const HOLDS: Readonly<Record<GateOperator, (a: number, b: number) => boolean>> = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

/** The latest metrics, by key, of the run that made a version's files; empty if that is not a run of this tracker. */
async function metricsOf(store: Store, { originRun }: ModelVersion): Promise<Map<string, Metric>> {
  const data = originRun === null ? null : await orNull(store.runs.getData(originRun));
  return new Map(data?.metrics.map((metric) => [metric.key, metric]));
}

const shown = (value: number): string => String(Number(value.toPrecision(6)));

/** How a version is used that gates compare with. */
const usageOf = ({ stage, aliases }: ModelVersion): string =>
  stage === "Production" ? "in Production" : `used as @${aliases.find(isGuarded)}`;

interface Compared {
  candidate: ModelVersion;
  value: number | undefined;
  /** The version that the candidate would replace, and its value. */
  current: ModelVersion | undefined;
  theirs: number | undefined;
}

function decide(gate: Gate, { candidate, value, current, theirs }: Compared): GateResult {
  const fail = (why: string, against: number | null = null): GateResult => ({
    ...gate,
    value: value ?? null,
    against,
    passed: false,
    why,
  });
  if (candidate.originRun === null) {
    return fail("The version's files are not those of a run of this tracker, so there are no metrics to judge it by.");
  }
  if (value === undefined) {
    return fail(`The version's source run has no metric ${gate.metric}. Log it, or change the gate.`);
  }
  if (Number.isNaN(value)) return fail(`${gate.metric} is NaN.`);
  if (gate.versus === "production") {
    if (!current) {
      const why = "No other version is in Production, so there is nothing to compare with.";
      return { ...gate, value, against: null, passed: true, why };
    }
    if (theirs === undefined || Number.isNaN(theirs)) {
      return fail(`Version ${current.version}, which is ${usageOf(current)}, has no ${gate.metric} to compare with.`);
    }
    const passed = HOLDS[gate.op](value, theirs);
    const why = `${gate.metric} is ${shown(value)}, which is ${passed ? "" : "not "}${gate.op} ${shown(theirs)} of version ${current.version}, which is ${usageOf(current)}.`;
    return { ...gate, value, against: theirs, passed, why };
  }
  const bound = gate.bound ?? Number.NaN;
  const passed = HOLDS[gate.op](value, bound);
  const why = `${gate.metric} is ${shown(value)}, which is ${passed ? "" : "not "}${gate.op} ${shown(bound)}.`;
  return { ...gate, value, against: bound, passed, why };
}

/** `production` is the version now in Production, or else with a guarded alias, other than the evaluated one. */
export interface Verdict extends Judged {
  results: GateResult[];
  passed: boolean;
}

/** Evaluates a model's gates for a version. */
export async function evaluateGates(store: Store, version: ModelVersion): Promise<Verdict> {
  const gates = await store.registry.gates(version.name);
  const current = await store.registry.production(version.name, version.version);
  const judged: Judged = { gates, production: current?.version ?? null };
  if (gates.length === 0) return { ...judged, results: [], passed: true };
  const own = await metricsOf(store, version);
  const theirs = current ? await metricsOf(store, current) : new Map<string, Metric>();
  const results = gates.map((gate) =>
    decide(gate, {
      candidate: version,
      value: own.get(gate.metric)?.value,
      current,
      theirs: theirs.get(gate.metric)?.value,
    }),
  );
  return { ...judged, results, passed: results.every((result) => result.passed) };
}
