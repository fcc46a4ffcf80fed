import { Type } from "@sinclair/typebox";
import { Card, CountedExperiment, Gate, GateResult, RunRow, StageChange } from "./anneal-schemas.ts";
import { adminModel, editModel, endpoint, viewExperiment, viewModel } from "./endpoint.ts";
import { Bool, BY_VERSION, Int, listOf, OPERATORS, oneOf, optional, Text, View } from "./fields.ts";
import { ModelVersion, object, orNull } from "./schemas.ts";

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
  summary: "Who changed which version's stage, and when.",
  request: ByName,
  answer: object({ history: listOf(StageChange) }),
  right: viewModel,
});

// Gates and cards read the version's source run, which is its experiment's.

export const evaluateGates = endpoint({
  method: "GET",
  path: "/api/anneal/model-versions/:name/:version/gates",
  summary: "The gates' results for a version.",
  request: ByVersion,
  answer: object({ passed: Type.Boolean(), gates: listOf(GateResult), production_version: orNull(Type.Integer()) }),
  right: [viewModel, viewExperiment],
});

export const promoteVersion = endpoint({
  method: "POST",
  path: "/api/anneal/model-versions/promote",
  summary: "Change a version's stage, with a comment; to Production only if it passes the gates.",
  request: Type.Object({
    ...BY_VERSION,
    stage: Text,
    comment: optional(Text),
    archiveExisting: optional(Bool),
    archive_existing: optional(Bool),
  }),
  answer: object({ model_version: ModelVersion, gates: listOf(GateResult) }),
  // For Production, the gates also need viewer of the source run's experiment.
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
  summary: "Write the statements of a model card that only a person can make.",
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
  summary: "All experiments, with how many runs each has.",
  request: Type.Object({}),
  answer: object({ experiments: listOf(CountedExperiment) }),
  right: "filtered",
});

export const getKeys = endpoint({
  method: "GET",
  path: "/api/anneal/experiments/keys",
  summary: "Names of the metrics and parameters of the runs of some experiments.",
  request: Type.Object({ experiment_ids: optional(listOf(Text)) }),
  answer: object({ metrics: listOf(Text), params: listOf(Text) }),
  right: "filtered",
});
