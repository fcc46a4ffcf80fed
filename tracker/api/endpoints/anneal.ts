import { Type } from "@sinclair/typebox";
import { Card, CountedExperiment, Gate, GateResult, Rewind, RunRow, StageChange } from "./anneal-schemas.ts";
import { adminModel, editExperiment, editModel, endpoint, viewExperiment, viewModel } from "./endpoint.ts";
import { Bool, BY_VERSION, Int, listOf, OPERATORS, oneOf, optional, Text, View } from "./fields.ts";
import { Metric, ModelVersion, object, orNull } from "./schemas.ts";

const ByName = Type.Object({ name: Text });
const ByVersion = Type.Object(BY_VERSION);
const Gates = object({ gates: listOf(Gate) });

export const getGates = endpoint({
  method: "GET",
  path: "/api/anneal/registered-models/:name/gates",
  summary: "The gates of a model: conditions for its promotion to Production.",
  request: ByName,
  answer: Gates,
  right: viewModel,
});

export const setGates = endpoint({
  method: "PUT",
  path: "/api/anneal/registered-models/:name/gates",
  summary: "Set the gates of a model.",
  request: Type.Object({
    name: Text,
    gates: Type.Array(
      Type.Object({
        metric: Text,
        op: oneOf(OPERATORS),
        bound: optional(Type.Number()),
        versus: optional(Type.Literal("production")),
      }),
      { maxItems: 100 },
    ),
  }),
  answer: Gates,
  right: adminModel,
});

export const getStageHistory = endpoint({
  method: "GET",
  path: "/api/anneal/registered-models/:name/history",
  summary: "The stage changes of a model's versions: who, when and why.",
  request: ByName,
  answer: object({ history: listOf(StageChange) }),
  right: viewModel,
});

// Gates and cards read the version's source run, so they need viewer of its experiment.

export const evaluateGates = endpoint({
  method: "GET",
  path: "/api/anneal/model-versions/:name/:version/gates",
  summary: "The results of the gates for a version.",
  request: ByVersion,
  answer: object({ passed: Type.Boolean(), gates: listOf(GateResult), production_version: orNull(Type.Integer()) }),
  right: [viewModel, viewExperiment],
});

export const promoteVersion = endpoint({
  method: "POST",
  path: "/api/anneal/model-versions/promote",
  summary: "Change a version's stage, with a comment. Production requires that all gates pass.",
  request: Type.Object({
    ...BY_VERSION,
    stage: Text,
    comment: optional(Text),
    archiveExisting: optional(Bool),
    archive_existing: optional(Bool),
  }),
  answer: object({ model_version: ModelVersion, gates: listOf(GateResult) }),
  // For Production, evaluating the gates also needs viewer of the source run's experiment.
  right: editModel,
});

export const getCard = endpoint({
  method: "GET",
  path: "/api/anneal/model-versions/:name/:version/card",
  summary: "A version's model card.",
  request: ByVersion,
  answer: Card,
  right: [viewModel, viewExperiment],
});

export const updateCard = endpoint({
  method: "PUT",
  path: "/api/anneal/model-versions/:name/:version/card",
  summary: "Set the parts of a model card that a person writes.",
  request: Type.Object({
    ...BY_VERSION,
    intended_use: optional(Text),
    out_of_scope_use: optional(Text),
    limitations: optional(Text),
    ethical_considerations: optional(Text),
    license: optional(Text),
    contact: optional(Text),
  }),
  answer: Card,
  right: [editModel, viewExperiment],
});

export const getRunTable = endpoint({
  method: "POST",
  path: "/api/anneal/runs/table",
  summary: "A page of runs as a table, with the requested columns.",
  request: Type.Object({
    experiment_ids: listOf(Text),
    filter: optional(Text),
    run_view_type: optional(View),
    order_by: optional(listOf(Text)),
    offset: optional(Int),
    limit: optional(Int),
    metrics: optional(listOf(Text)),
    params: optional(listOf(Text)),
    tags: optional(listOf(Text)),
  }),
  answer: object({ total: Type.Integer(), rows: listOf(RunRow) }),
  right: "filtered",
});

export const countExperiments = endpoint({
  method: "GET",
  path: "/api/anneal/experiments",
  summary: "All experiments, each with its number of runs.",
  request: Type.Object({}),
  answer: object({ experiments: listOf(CountedExperiment) }),
  right: "filtered",
});

export const getKeys = endpoint({
  method: "GET",
  path: "/api/anneal/experiments/keys",
  summary: "The names of the metrics and parameters of the experiments' runs.",
  request: Type.Object({ experiment_ids: optional(listOf(Text)) }),
  answer: object({ metrics: listOf(Text), params: listOf(Text) }),
  right: "filtered",
});

const ByRun = Type.Object({ run_id: Text });

export const sendHeartbeat = endpoint({
  method: "POST",
  path: "/api/anneal/runs/:run_id/heartbeat",
  summary: "Report that a run's process is alive. A run whose heartbeats end is marked as failed.",
  request: ByRun,
  answer: object({ status: Text }),
  right: editExperiment,
  audit: false,
});

export const rewindRun = endpoint({
  method: "POST",
  path: "/api/anneal/runs/:run_id/rewinds",
  summary: "Take back the metrics of a run after a step. They are kept with the rewind.",
  request: Type.Object({
    run_id: Text,
    id: Type.String({ pattern: "^[\\w-]{1,64}$" }),
    step: Int,
    time: optional(Int),
  }),
  answer: object({}),
  right: editExperiment,
});

export const listRewinds = endpoint({
  method: "GET",
  path: "/api/anneal/runs/:run_id/rewinds",
  summary: "The rewinds of a run, newest first.",
  request: ByRun,
  answer: object({ rewinds: listOf(Rewind) }),
  right: viewExperiment,
});

export const getRewind = endpoint({
  method: "GET",
  path: "/api/anneal/runs/:run_id/rewinds/:id",
  summary: "The metrics that a rewind took back, at most 25 000 points.",
  request: Type.Object({ run_id: Text, id: Text }),
  answer: object({ metrics: listOf(Metric) }),
  right: viewExperiment,
});
