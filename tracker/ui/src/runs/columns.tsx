import { Badge, Group } from "@mantine/core";
import type { ReactNode } from "react";
import type { RunRow } from "../api.ts";
import { baseName, formatDuration, formatNumber } from "../format.ts";
import { PageLink, StatusDot, When } from "../parts/bits.tsx";
import { lowerIsBetter } from "../run/data.ts";

/** A column of the table of runs. */
export interface Column {
  id: string;
  title: string;
  width: number;
  numeric?: boolean;
  /** The order_by field; undefined if the column is not sortable. */
  order?: string;
  /** Whether what one looks for comes first in ascending order: names from A, losses from the least. */
  ascending?: boolean;
  cell(run: RunRow): ReactNode;
}

const field = (entity: string, key: string): string =>
  /^[\w./-]+$/.test(key) ? `${entity}.${key}` : `${entity}.\`${key}\``;

function durationOf(run: RunRow): string {
  if (run.end_time !== undefined) return formatDuration(run.end_time - run.start_time);
  return run.status === "RUNNING" ? formatDuration(Date.now() - run.start_time) : "";
}

const NOTEBOOK = "mlflow.source.name";

/** Tags that the fixed columns show. */
export const COLUMN_TAGS = [NOTEBOOK];

export const FIXED: Column[] = [
  {
    id: "name",
    title: "Name",
    width: 240,
    order: "attributes.run_name",
    ascending: true,
    cell: (run) => (
      <Group gap={8} wrap="nowrap">
        <StatusDot status={run.status} />
        <PageLink to="/runs/$runId" params={{ runId: run.run_id }} truncate title={run.run_name} fz="sm">
          {run.run_name}
        </PageLink>
      </Group>
    ),
  },
  {
    id: "started",
    title: "Started",
    width: 148,
    order: "attributes.start_time",
    cell: (run) => <When time={run.start_time} />,
  },
  { id: "duration", title: "Duration", width: 106, numeric: true, order: "attributes.duration", cell: durationOf },
  {
    id: "notebook",
    title: "Notebook",
    width: 150,
    order: `tags.\`${NOTEBOOK}\``,
    cell: (run) => <span title={run.tags[NOTEBOOK]}>{baseName(run.tags[NOTEBOOK] ?? "")}</span>,
  },
  {
    id: "model",
    title: "Model",
    width: 130,
    cell: (run) => (
      <Group gap={4} wrap="nowrap">
        {run.models.slice(0, 2).map((model) => (
          <PageLink
            key={`${model.name} ${model.version}`}
            to="/models/$name/versions/$version"
            params={{ name: model.name, version: model.version }}
            underline="never"
            title={`${model.name}, version ${model.version}${model.stage === "None" ? "" : `, ${model.stage}`}`}
          >
            <Badge maw={120} color={model.stage === "Production" ? "teal" : "gray"} style={{ cursor: "pointer" }}>
              {model.name} v{model.version}
            </Badge>
          </PageLink>
        ))}
        {run.models.length > 2 && <span>+{run.models.length - 2}</span>}
      </Group>
    ),
  },
];

/** A value by a name that a client chose, which may be `constructor`. */
const own = <T,>(values: Record<string, T>, name: string): T | undefined =>
  Object.hasOwn(values, name) ? values[name] : undefined;

export const metricColumn = (key: string): Column => ({
  id: `metric:${key}`,
  title: key,
  width: Math.max(104, Math.min(170, key.length * 7.2 + 34)),
  numeric: true,
  order: field("metrics", key),
  ascending: lowerIsBetter(key) === true,
  cell: (run) => formatNumber(own(run.metrics, key)),
});

export const paramColumn = (key: string): Column => ({
  id: `param:${key}`,
  title: key,
  width: Math.max(96, Math.min(170, key.length * 7.2 + 34)),
  order: field("params", key),
  ascending: true,
  cell: (run) => {
    const value = own(run.params, key);
    return <span title={value}>{value}</span>;
  },
});

const METRICS_FIRST = ["test/loss", "test/perplexity", "test/rougeL", "test/token_accuracy", "eval/loss", "train/loss"];
const PARAMS_FIRST = ["learning_rate", "num_train_epochs", "lora_r"];

/** Default columns: few, and those that distinguish runs. */
export function sensibleColumns(keys: { metrics: string[]; params: string[] }): string[] {
  const known = METRICS_FIRST.filter((key) => keys.metrics.includes(key)).slice(0, 5);
  const others = keys.metrics.filter((key) => !known.includes(key) && !/^(system|before|after)\//.test(key));
  const metrics = [...known, ...others].slice(0, Math.max(known.length, 4));
  const params = PARAMS_FIRST.filter((key) => keys.params.includes(key));
  return [
    ...FIXED.map(({ id }) => id),
    ...metrics.map((key) => `metric:${key}`),
    ...(params.length > 0 ? params : keys.params.slice(0, 2)).map((key) => `param:${key}`),
  ];
}

/** The column of an id; undefined for one that no run has any more. */
export function columnOf(id: string): Column | undefined {
  if (id.startsWith("metric:")) return metricColumn(id.slice(7));
  if (id.startsWith("param:")) return paramColumn(id.slice(6));
  return FIXED.find((column) => column.id === id);
}
