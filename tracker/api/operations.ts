import { type TProperties, type TSchema, Type } from "@sinclair/typebox";
import * as answers from "./answers.ts";

/** What the API document says of an endpoint beside its message. */
export interface Operation {
  summary: string;
  /** The answer's shape; any object where it is not told. */
  answer?: TSchema;
}

const optional = Type.Optional;
const text = Type.String();
const one = (properties: TProperties) => Type.Object(properties, { additionalProperties: false });
const nothing = one({});
const page = (name: string, item: TSchema) =>
  one({ [name]: optional(Type.Array(item)), next_page_token: optional(text) });
const experiments = page("experiments", answers.Experiment);
const models = page("registered_models", answers.RegisteredModel);
const model = one({ registered_model: answers.RegisteredModel });
const versions = page("model_versions", answers.ModelVersion);
const version = one({ model_version: answers.ModelVersion });
const loggedModel = one({ model: answers.LoggedModel });
const webhook = one({ webhook: answers.Webhook });
const files = one({ root_uri: text, files: optional(Type.Array(answers.FileInfo)) });

/** Endpoints of MLflow's protocol, below /api/2.0/mlflow. */
export const mlflowOperations: Readonly<Record<string, Operation>> = {
  "POST /experiments/create": { summary: "Create an experiment.", answer: one({ experiment_id: text }) },
  "GET /experiments/get": { summary: "An experiment by its id.", answer: one({ experiment: answers.Experiment }) },
  "GET /experiments/get-by-name": {
    summary: "An experiment by its name.",
    answer: one({ experiment: answers.Experiment }),
  },
  "GET /experiments/search": { summary: "Find experiments.", answer: experiments },
  "POST /experiments/search": { summary: "Find experiments.", answer: experiments },
  "GET /experiments/list": { summary: "Find experiments, as old clients ask.", answer: experiments },
  "POST /experiments/list": { summary: "Find experiments, as old clients ask.", answer: experiments },
  "POST /experiments/update": { summary: "Rename an experiment.", answer: nothing },
  "POST /experiments/delete": { summary: "Hide an experiment and its runs.", answer: nothing },
  "POST /experiments/restore": { summary: "Show a hidden experiment again.", answer: nothing },
  "POST /experiments/set-experiment-tag": { summary: "Set a tag of an experiment.", answer: nothing },
  "POST /experiments/delete-experiment-tag": { summary: "Delete a tag of an experiment.", answer: nothing },
  "GET /experiments/search-datasets": { summary: "Data sets that runs of some experiments used." },
  "POST /experiments/search-datasets": { summary: "Data sets that runs of some experiments used." },
  "POST /runs/create": { summary: "Create a run.", answer: one({ run: answers.Run }) },
  "GET /runs/get": {
    summary: "A run with its latest metrics, parameters and tags.",
    answer: one({ run: answers.Run }),
  },
  "POST /runs/update": {
    summary: "Change a run's state, end or name.",
    answer: one({ run_info: answers.RunInfo }),
  },
  "POST /runs/delete": { summary: "Hide a run.", answer: nothing },
  "POST /runs/restore": { summary: "Show a hidden run again.", answer: nothing },
  "POST /runs/search": { summary: "Find runs by MLflow's filter language.", answer: page("runs", answers.Run) },
  "POST /runs/log-metric": { summary: "Log one measured value.", answer: nothing },
  "POST /runs/log-parameter": { summary: "Log one parameter; it is written once.", answer: nothing },
  "POST /runs/log-batch": {
    summary: "Log up to 1000 metrics, 100 parameters and 100 tags, 1000 in all.",
    answer: nothing,
  },
  "POST /runs/set-tag": { summary: "Set a tag of a run.", answer: nothing },
  "POST /runs/delete-tag": { summary: "Delete a tag of a run.", answer: nothing },
  "POST /runs/log-inputs": { summary: "Log data sets and models that a run works on.", answer: nothing },
  "POST /runs/outputs": { summary: "Log models that a run made.", answer: nothing },
  "POST /runs/log-model": { summary: "Log a model as clients before MLflow 3 do.", answer: nothing },
  "GET /metrics/get-history": {
    summary: "All points of a metric, page by page.",
    answer: page("metrics", answers.Metric),
  },
  "GET /metrics/get-history-bulk": {
    summary: "Points of a metric of several runs.",
    answer: one({ metrics: Type.Array(answers.RunMetric) }),
  },
  "GET /metrics/get-history-bulk-interval": {
    summary: "A sample of a metric's points of several runs, for a chart.",
    answer: one({ metrics: Type.Array(answers.RunMetric) }),
  },
  "GET /artifacts/list": { summary: "A run's artifacts in a folder.", answer: files },
  "GET /logged-models/:model_id/artifacts/files": { summary: "The bytes of a logged model's file." },
  "GET /get-artifact": { summary: "The bytes of a run's artifact." },
  "GET /model-versions/get-artifact": { summary: "The bytes of a model version's file." },
  "POST /registered-models/create": { summary: "Register a model's name.", answer: model },
  "GET /registered-models/get": { summary: "A registered model by its name.", answer: model },
  "GET /registered-models/search": { summary: "Find registered models.", answer: models },
  "POST /registered-models/search": { summary: "Find registered models.", answer: models },
  "GET /registered-models/list": { summary: "Find registered models, as old clients ask.", answer: models },
  "POST /registered-models/list": { summary: "Find registered models, as old clients ask.", answer: models },
  "POST /registered-models/rename": { summary: "Rename a registered model.", answer: model },
  "PATCH /registered-models/update": { summary: "Describe a registered model.", answer: model },
  "DELETE /registered-models/delete": { summary: "Delete a registered model and its versions.", answer: nothing },
  "POST /registered-models/set-tag": { summary: "Set a tag of a registered model.", answer: nothing },
  "DELETE /registered-models/delete-tag": { summary: "Delete a tag of a registered model.", answer: nothing },
  "GET /registered-models/get-latest-versions": { summary: "The latest version of each stage.", answer: versions },
  "POST /registered-models/get-latest-versions": { summary: "The latest version of each stage.", answer: versions },
  "POST /registered-models/alias": { summary: "Have an alias name a version.", answer: nothing },
  "GET /registered-models/alias": { summary: "The version that an alias names.", answer: version },
  "DELETE /registered-models/alias": { summary: "Delete an alias.", answer: nothing },
  "POST /model-versions/create": { summary: "Register a model's files as a new version.", answer: version },
  "GET /model-versions/get": { summary: "A version of a registered model.", answer: version },
  "GET /model-versions/search": { summary: "Find versions of registered models.", answer: versions },
  "POST /model-versions/search": { summary: "Find versions of registered models.", answer: versions },
  "GET /model-versions/get-download-uri": {
    summary: "Where a version's files are.",
    answer: one({ artifact_uri: text }),
  },
  "PATCH /model-versions/update": { summary: "Describe a version.", answer: version },
  "DELETE /model-versions/delete": { summary: "Delete a version.", answer: nothing },
  "POST /model-versions/transition-stage": {
    summary: "Change a version's stage; its gates must pass.",
    answer: version,
  },
  "POST /model-versions/set-tag": { summary: "Set a tag of a version.", answer: nothing },
  "DELETE /model-versions/delete-tag": { summary: "Delete a tag of a version.", answer: nothing },
  "POST /logged-models": { summary: "Create a logged model, whose files follow.", answer: loggedModel },
  "POST /logged-models/search": { summary: "Find logged models.", answer: page("models", answers.LoggedModel) },
  "GET /logged-models/:model_id": { summary: "A logged model by its id.", answer: loggedModel },
  "PATCH /logged-models/:model_id": {
    summary: "Say that a logged model's files are there, or are not.",
    answer: loggedModel,
  },
  "DELETE /logged-models/:model_id": { summary: "Delete a logged model.", answer: nothing },
  "PATCH /logged-models/:model_id/tags": { summary: "Set tags of a logged model.", answer: loggedModel },
  "DELETE /logged-models/:model_id/tags/:tag_key": { summary: "Delete a tag of a logged model.", answer: nothing },
  "POST /logged-models/:model_id/params": { summary: "Add parameters to a logged model.", answer: nothing },
  "GET /logged-models/:model_id/artifacts/directories": {
    summary: "A logged model's files in a folder.",
    answer: files,
  },
  "POST /traces/link-to-run": { summary: "Say that traces belong to a run.", answer: nothing },
  "POST /webhooks": { summary: "Have an address told of what happens in the registry.", answer: webhook },
  "GET /webhooks": { summary: "All webhooks.", answer: page("webhooks", answers.Webhook) },
  "GET /webhooks/:webhook_id": { summary: "A webhook by its id.", answer: webhook },
  "PATCH /webhooks/:webhook_id": { summary: "Change a webhook.", answer: webhook },
  "DELETE /webhooks/:webhook_id": { summary: "Delete a webhook.", answer: nothing },
  "POST /webhooks/:webhook_id/test": { summary: "Try a webhook out with an example." },
};

/** Traces as MLflow has them since version 3, below /api/3.0/mlflow. */
export const traceOperations: Readonly<Record<string, Operation>> = {
  "POST /traces": { summary: "Begin a trace." },
  "GET /traces/get": { summary: "A trace with its spans." },
  "GET /traces/batchGet": { summary: "Traces with their spans, by their ids; those that are not there are left out." },
  "GET /traces/:trace_id": { summary: "What a trace is, without its spans." },
  "POST /traces/search": { summary: "Find traces by MLflow's filter language." },
  "GET /server-info": { summary: "What clients may use of what not every server has." },
  "POST /traces/delete-traces": { summary: "Delete traces." },
  "PATCH /traces/:trace_id/tags": { summary: "Set a tag of a trace." },
  "DELETE /traces/:trace_id/tags": { summary: "Delete a tag of a trace." },
  "POST /traces/:trace_id/assessments": { summary: "Say what one thinks of a trace." },
  "GET /traces/:trace_id/assessments/:assessment_id": { summary: "What somebody said of a trace." },
  "PATCH /traces/:trace_id/assessments/:assessment_id": { summary: "Change what one said of a trace." },
  "DELETE /traces/:trace_id/assessments/:assessment_id": { summary: "Delete an assessment of a trace." },
};

/** What MLflow's protocol lacks, below /api/anneal. */
export const annealOperations: Readonly<Record<string, Operation>> = {
  "GET /registered-models/:name/gates": { summary: "Conditions for a model's promotion to Production." },
  "PUT /registered-models/:name/gates": { summary: "Set the conditions for a model's promotion to Production." },
  "GET /registered-models/:name/history": { summary: "Who changed which version's stage, and when." },
  "GET /model-versions/:name/:version/gates": { summary: "What the gates say of a version." },
  "POST /model-versions/promote": { summary: "Change a version's stage, with a comment; its gates must pass." },
  "GET /model-versions/:name/:version/card": { summary: "A version's model card." },
  "PUT /model-versions/:name/:version/card": { summary: "Write what only a person knows into a model card." },
  "POST /runs/table": { summary: "A page of runs as a table, with the columns asked for." },
  "GET /experiments": { summary: "All experiments, with how many runs each has." },
  "GET /experiments/keys": { summary: "Names of the metrics and parameters that runs have." },
  "POST /artifacts/copies": { summary: "Store under a path what is stored already, by its SHA-256." },
  "POST /artifacts/uploads": { summary: "Begin to send a file in parts, or go on: tells which parts are missing." },
  "POST /artifacts/uploads/:upload_id/complete": { summary: "Put a file together from its parts." },
  "DELETE /artifacts/uploads/:upload_id": { summary: "Give up an upload, and remove its parts." },
  "GET /me": { summary: "Who is asking, and what they may do." },
  "GET /users": { summary: "All users." },
  "POST /users": { summary: "Add a user." },
  "PATCH /users/:name": { summary: "Change a user." },
  "DELETE /users/:name": { summary: "Remove a user." },
  "GET /tokens": { summary: "Tokens, without what they are made of." },
  "POST /tokens": { summary: "Create a token. Its secret is shown only in this answer." },
  "DELETE /tokens/:id": { summary: "Take a token back." },
  "GET /grants": { summary: "Who may do what with an experiment or a model." },
  "PUT /grants": { summary: "Let a user do something with an experiment or a model." },
  "DELETE /grants": { summary: "Take a grant back." },
  "GET /audit": { summary: "Who changed what, and when." },
};
