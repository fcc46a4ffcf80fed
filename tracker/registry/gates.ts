import { TrackerError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import type { Gate, GateOperator, GateResult, Metric, ModelVersion } from "../store/types.ts";

const HOLDS: Readonly<Record<GateOperator, (a: number, b: number) => boolean>> = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

/** The latest metrics of a version's source run by key; empty if the run is not on this tracker. */
async function metricsOf(store: Store, version: ModelVersion): Promise<Map<string, Metric>> {
  if (version.runId === null) return new Map();
  try {
    const { metrics } = await store.runs.getData(version.runId);
    return new Map(metrics.map((metric) => [metric.key, metric]));
  } catch (error) {
    if (error instanceof TrackerError && error.code === "RESOURCE_DOES_NOT_EXIST") return new Map();
    throw error;
  }
}

const shown = (value: number): string => String(Number(value.toPrecision(6)));

function decide(gate: Gate, value: number | undefined, current: ModelVersion | undefined, theirs: number | undefined) {
  const fail = (why: string, against: number | null = null): GateResult => ({
    ...gate,
    value: value ?? null,
    against,
    passed: false,
    why,
  });
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
      return fail(`Version ${current.version}, which is in Production, has no ${gate.metric} to compare with.`);
    }
    const passed = HOLDS[gate.op](value, theirs);
    const why = `${gate.metric} is ${shown(value)}, which is ${passed ? "" : "not "}${gate.op} ${shown(theirs)} of version ${current.version} in Production.`;
    return { ...gate, value, against: theirs, passed, why };
  }
  const bound = gate.bound ?? Number.NaN;
  const passed = HOLDS[gate.op](value, bound);
  const why = `${gate.metric} is ${shown(value)}, which is ${passed ? "" : "not "}${gate.op} ${shown(bound)}.`;
  return { ...gate, value, against: bound, passed, why } satisfies GateResult;
}

export interface Verdict {
  results: GateResult[];
  passed: boolean;
  /** The number of the version now in Production, other than the evaluated one. */
  production: number | null;
}

/** Evaluates a model's gates for a version. */
export async function evaluateGates(store: Store, version: ModelVersion): Promise<Verdict> {
  const gates = await store.registry.gates(version.name);
  const latest = await store.registry.searchVersions({
    filter: [
      { entity: "attribute", key: "name", comparator: "=", value: version.name },
      { entity: "attribute", key: "current_stage", comparator: "=", value: "Production" },
    ],
    order: [{ entity: "attribute", key: "version_number", ascending: false }],
    offset: 0,
    limit: 2,
  });
  const current = latest.items.find((other) => other.version !== version.version);
  const own = await metricsOf(store, version);
  const theirs = current ? await metricsOf(store, current) : new Map<string, Metric>();
  const results = gates.map((gate) =>
    decide(gate, own.get(gate.metric)?.value, current, theirs.get(gate.metric)?.value),
  );
  return { results, passed: results.every((result) => result.passed), production: current?.version ?? null };
}
