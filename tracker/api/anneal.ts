import type { FastifyInstance } from "fastify";
import { currentPrincipal } from "../access/principal.ts";
import { type CardFacts, gatherFacts, STATEMENTS, statementsOf } from "../cards/facts.ts";
import { missingStatements, writeCard } from "../cards/markdown.ts";
import { invalid } from "../errors.ts";
import { bool, int, limitOf, nameOf } from "../message.ts";
import { evaluateGates } from "../registry/gates.ts";
import { promote } from "../registry/promote.ts";
import { parseFilter, parseOrder, RUNS } from "../store/filter.ts";
import type { Gate, GateResult, Run, StageChange } from "../store/types.ts";
import type { Tracker } from "../tracker.ts";
import * as endpoints from "./endpoints/anneal.ts";
import type * as schemas from "./endpoints/anneal-schemas.ts";
import { OPERATORS, VIEWS } from "./endpoints/fields.ts";
import { checkKey, truncate } from "./limits.ts";
import { stageOf } from "./registry.ts";
import { route } from "./route.ts";
import * as shapes from "./shapes.ts";

/*
 * Endpoints beyond MLflow's protocol, under /api/anneal: promotion gates, the stage history, model cards and the tables
 * that the pages show.
 */

const gateShape = (it: Gate): schemas.Gate => ({
  metric: it.metric,
  op: it.op,
  ...(it.bound === undefined ? {} : { bound: it.bound }),
  ...(it.versus === undefined ? {} : { versus: it.versus }),
});

export const gateResult = (it: GateResult): schemas.GateResult => ({
  ...gateShape(it),
  value: it.value === null ? null : shapes.number(it.value),
  against: it.against === null ? null : shapes.number(it.against),
  passed: it.passed,
  why: it.why,
});

const stageChange = (it: StageChange) => ({ ...it, gates: it.gates.map(gateResult) });

function gateRoutes(app: FastifyInstance, tracker: Tracker): void {
  const { store, events } = tracker;
  const { registry } = store;

  route(app, endpoints.getGates, async ({ name }) => ({
    gates: (await registry.gates(name)).map(gateShape),
  }));

  route(app, endpoints.setGates, async ({ name, gates }) => {
    const checked = gates.map(({ metric, op, bound, versus }, index): Gate => {
      if ((bound === undefined) === (versus === undefined)) {
        throw invalid(`gates[${index}] needs either a bound (a number) or versus: "production", but not both.`);
      }
      return {
        metric: checkKey(metric, "metric"),
        op: nameOf(OPERATORS, op),
        ...(bound === undefined ? {} : { bound }),
        ...(versus === undefined ? {} : { versus }),
      };
    });
    await registry.setGates(name, checked);
    events.publish({ type: "model", name, change: "updated" });
    return { gates: checked.map(gateShape) };
  });

  route(app, endpoints.getStageHistory, async ({ name }) => ({
    history: (await registry.history(name)).map(stageChange),
  }));

  route(app, endpoints.evaluateGates, async ({ name, version }) => {
    const verdict = await evaluateGates(store, await registry.getVersion(name, Number(version)));
    return { passed: verdict.passed, gates: verdict.results.map(gateResult), production_version: verdict.production };
  });

  route(app, endpoints.promoteVersion, async (message) => {
    const stage = stageOf(message.stage);
    const archive = message.archiveExisting ?? message.archive_existing ?? stage === "Production";
    const { version, gates } = await promote(tracker, {
      name: message.name,
      version: Number(message.version),
      stage,
      comment: message.comment?.trim() ? truncate(message.comment.trim(), 5000) : null,
      archiveExisting: bool(archive),
      who: currentPrincipal().name,
    });
    return { model_version: shapes.modelVersion(version), gates: gates.map(gateResult) };
  });
}

function cardRoutes(app: FastifyInstance, tracker: Tracker): void {
  const { store, events } = tracker;
  const factsOf = async (name: string, version: number): Promise<CardFacts> =>
    gatherFacts(store, await store.registry.getVersion(name, version));

  const cardOf = async (facts: CardFacts): Promise<schemas.Card> => {
    const statements = statementsOf(await store.registry.statements(facts.name, facts.version));
    const finite = (it: { metric: string; value: number }) => ({ ...it, value: shapes.number(it.value) });
    const either = (value: number | null) => (value === null ? null : shapes.number(value));
    return {
      markdown: writeCard(facts, statements),
      facts: {
        ...facts,
        training: facts.training.map(finite),
        evaluation: facts.evaluation.map(finite),
        comparison: facts.comparison.map((it) => ({ ...it, before: either(it.before), after: either(it.after) })),
      },
      statements,
      missing: missingStatements(statements),
    };
  };

  route(app, endpoints.getCard, async ({ name, version }) => cardOf(await factsOf(name, Number(version))));

  route(app, endpoints.updateCard, async (message) => {
    const who = currentPrincipal().name;
    const statements = STATEMENTS.flatMap((field) => {
      const value = message[field];
      return value === undefined ? [] : [{ field, value: truncate(value.trim(), 20_000), who, at: Date.now() }];
    });
    if (statements.length === 0) throw invalid(`Nothing to store: give at least one of ${STATEMENTS.join(", ")}.`);
    const { name } = message;
    const version = Number(message.version);
    // Reads first: a user who may not read the card is refused before anything is written.
    const facts = await factsOf(name, version);
    await store.registry.setStatements(name, version, statements);
    events.publish({ type: "model", name, version, change: "updated" });
    return cardOf(facts);
  });
}

function tableRoutes(app: FastifyInstance, { store }: Tracker): void {
  route(app, endpoints.getRunTable, async (message) => {
    const offset = int(message.offset ?? 0, "offset");
    if (offset < 0) throw invalid(`Invalid value ${offset} for parameter 'offset': expected 0 or more.`);
    const { rows, total } = await store.runs.table({
      experimentIds: message.experiment_ids,
      view: nameOf(VIEWS, message.run_view_type ?? "ACTIVE_ONLY"),
      filter: parseFilter(message.filter, RUNS),
      order: parseOrder(message.order_by, RUNS),
      offset,
      limit: limitOf(message.limit, 100, 1000),
      metrics: message.metrics ?? [],
      params: message.params ?? [],
      tags: message.tags ?? [],
    });
    const models = await modelsOf(rows.map(({ run }) => run.id));
    return {
      total,
      rows: rows.map(({ run, metrics, params, tags }) => ({
        ...shapes.runInfo(run),
        metrics: Object.fromEntries(Object.entries(metrics).map(([key, value]) => [key, shapes.number(value)])),
        params,
        tags,
        models: models.get(run.id) ?? [],
      })),
    };
  });

  /** Returns the model versions that were registered from each run. */
  const modelsOf = async (
    runIds: string[],
  ): Promise<Map<string, { name: string; version: string; stage: string }[]>> => {
    const byRun = new Map<string, { name: string; version: string; stage: string }[]>();
    if (runIds.length === 0) return byRun;
    const { items } = await store.registry.searchVersions({
      filter: [{ entity: "attribute", key: "run_id", comparator: "IN", value: runIds }],
      order: [],
      offset: 0,
      limit: 10_000,
    });
    for (const { runId, name, version, stage } of items) {
      if (runId === null) continue;
      const versions = byRun.get(runId) ?? [];
      versions.push({ name, version: String(version), stage });
      byRun.set(runId, versions);
    }
    return byRun;
  };

  route(app, endpoints.countExperiments, async () => {
    const counts = await store.experiments.runCounts();
    const { items } = await store.experiments.search({
      view: "ACTIVE_ONLY",
      filter: [],
      order: [],
      offset: 0,
      limit: 10_000,
    });
    return { experiments: items.map((it) => ({ ...shapes.experiment(it), runs: counts.get(it.id) ?? 0 })) };
  });

  route(app, endpoints.getKeys, async ({ experiment_ids }) => store.experiments.keys(experiment_ids ?? []));
}

/** Points of a rewind in one response. */
const MAX_POINTS = 25_000;

/** Heartbeats and rewinding. */
function runRoutes(app: FastifyInstance, { store: { runs }, events }: Tracker): void {
  const updated = ({ experimentId, id }: Run): void =>
    events.publish({ type: "run", experimentId, runId: id, change: "updated" });

  route(app, endpoints.sendHeartbeat, async ({ run_id }) => {
    const { run, revived } = await runs.beat(run_id, Date.now());
    if (revived) updated(run);
    return { status: run.status };
  });

  route(app, endpoints.rewindRun, async ({ run_id, id, step, time }) => {
    const at = time === undefined ? Date.now() : int(time, "time");
    updated(await runs.rewind(run_id, { id, step: int(step, "step"), at }));
    return {};
  });

  route(app, endpoints.listRewinds, async ({ run_id }) => ({
    rewinds: (await runs.rewinds(run_id)).map(({ at, ...rewind }) => ({ ...rewind, time: at })),
  }));

  route(app, endpoints.getRewind, async ({ run_id, id }) => ({
    metrics: (await runs.rewound(run_id, id, MAX_POINTS)).map(shapes.metric),
  }));
}

export function annealRoutes(app: FastifyInstance, tracker: Tracker): void {
  runRoutes(app, tracker);
  gateRoutes(app, tracker);
  cardRoutes(app, tracker);
  tableRoutes(app, tracker);
}
