import { Loader, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { formatDate, formatDuration } from "../format.ts";
import { Copyable, Empty, Facts, Failure, PageLink, Section } from "../parts/bits.tsx";
import { CodeBlock } from "../parts/code.tsx";
import shell from "../shell.module.css";
import { durationOf, nameOf, type Span, traces } from "./api.ts";
import { TraceState } from "./state.tsx";
import classes from "./traces.module.css";

interface Row {
  span: Span;
  depth: number;
}

/** Builds the span tree. Spans whose parent is missing become roots. */
function asTree(spans: Span[]): Row[] {
  const spanIds = new Set(spans.map(({ span_id }) => span_id));
  const below = new Map<string, Span[]>();
  for (const span of spans) {
    const parent = span.parent_span_id !== undefined && spanIds.has(span.parent_span_id) ? span.parent_span_id : "";
    below.set(parent, [...(below.get(parent) ?? []), span]);
  }
  const rows: Row[] = [];
  const seen = new Set<string>();
  const visit = (id: string, depth: number): void => {
    for (const span of below.get(id) ?? []) {
      if (seen.has(span.span_id)) continue;
      seen.add(span.span_id);
      rows.push({ span, depth });
      visit(span.span_id, depth + 1);
    }
  };
  visit("", 0);
  return rows;
}

/** Milliseconds since the start of the first span. */
const since = (first: bigint, time: string): number => Number(BigInt(time) - first) / 1e6;

const shown = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

/** Trace page: span timeline with inputs and outputs. */
export function TracePage() {
  const { traceId } = useParams({ from: "/traces/$traceId" });
  const trace = useQuery({ queryKey: ["trace", traceId], queryFn: () => traces.get(traceId) });
  const rows = useMemo(() => asTree(trace.data?.spans ?? []), [trace.data]);
  const [chosen, setChosen] = useState<string | undefined>();
  if (trace.error) {
    return (
      <div className={shell.page}>
        <Failure error={trace.error} />
      </div>
    );
  }
  if (!trace.data) return <Loader m="lg" size="sm" />;
  const { trace_info: info } = trace.data;
  const took = durationOf(info);
  const run = info.trace_metadata["mlflow.sourceRun"];
  const span = rows.find(({ span: { span_id } }) => span_id === chosen)?.span ?? rows[0]?.span;
  return (
    <div className={shell.page}>
      <div className={shell.head}>
        <div className={shell.crumbs}>
          <PageLink to="/traces" fz="xs">
            Traces
          </PageLink>
        </div>
        <h1 className={shell.title} title={nameOf(info)}>
          {nameOf(info)}
        </h1>
        <TraceState state={info.state} />
        {took !== undefined && (
          <Text fz="sm" c="dimmed">
            {formatDuration(took)}
          </Text>
        )}
      </div>
      <div className={classes.columns}>
        <Section title={`Steps, ${rows.length}`} flush>
          {rows.length === 0 ? (
            <Empty title="No steps were recorded">
              The trace is known, but its spans were not sent here, nor put beside it as traces.json.
            </Empty>
          ) : (
            <Waterfall rows={rows} chosen={span?.span_id} onChoose={setChosen} />
          )}
        </Section>
        <div className={classes.details}>
          {span && <SpanDetails span={span} />}
          <Section title="Trace">
            <Facts
              rows={[
                ["Id", <Copyable key="id" text={info.trace_id} />],
                ["Started", formatDate(Date.parse(info.request_time))],
                run
                  ? [
                      "Run",
                      <PageLink key="run" to="/runs/$runId" params={{ runId: run }} fz="sm">
                        {run}
                      </PageLink>,
                    ]
                  : null,
                ...Object.entries(info.tags)
                  .filter(([key]) => !key.startsWith("mlflow."))
                  .map(([key, value]) => [key, value] as const),
              ]}
            />
          </Section>
          {info.assessments && info.assessments.length > 0 && (
            <Section title="Assessments">
              <Facts
                rows={info.assessments.map((it) => [
                  it.assessment_name,
                  <span key={it.assessment_id}>
                    {shown(it.feedback?.value ?? it.expectation?.value ?? "")}
                    {it.rationale && (
                      <Text fz="xs" c="dimmed">
                        {it.rationale}
                      </Text>
                    )}
                  </span>,
                ])}
              />
            </Section>
          )}
        </div>
      </div>
    </div>
  );
}

function Waterfall({
  rows,
  chosen,
  onChoose,
}: {
  rows: Row[];
  chosen: string | undefined;
  onChoose(spanId: string): void;
}) {
  // Strings of equal length compare like numbers, without the loss of precision.
  const [earliest = "0"] = rows.map(({ span }) => span.start_time_unix_nano.padStart(20, "0")).sort();
  const first = BigInt(earliest);
  const whole = Math.max(
    ...rows.map(({ span }) => Math.max(since(first, span.end_time_unix_nano), since(first, span.start_time_unix_nano))),
    0.001,
  );
  return (
    <ul className={classes.spans}>
      {rows.map(({ span, depth }) => {
        const from = since(first, span.start_time_unix_nano);
        // An unfinished span extends to the end of the trace.
        const to = span.end_time_unix_nano === "0" ? whole : since(first, span.end_time_unix_nano);
        const failed = span.status.code === "STATUS_CODE_ERROR";
        return (
          <li key={span.span_id}>
            <button
              type="button"
              className={classes.span}
              data-chosen={span.span_id === chosen || undefined}
              data-failed={failed || undefined}
              onClick={() => onChoose(span.span_id)}
            >
              <span className={classes.spanName} style={{ paddingLeft: 12 + 14 * depth }} title={span.name}>
                {span.name || "(no name)"}
              </span>
              <span className={classes.track}>
                <span
                  className={classes.bar}
                  style={{
                    left: `${(100 * from) / whole}%`,
                    width: `max(2px, ${(100 * Math.max(0, to - from)) / whole}%)`,
                  }}
                />
              </span>
              <span className={classes.took}>{formatDuration(Math.max(0, to - from))}</span>
            </button>
          </li>
        );
      })}
    </ul>
  );
}

const INPUTS = "mlflow.spanInputs";
const OUTPUTS = "mlflow.spanOutputs";

function SpanDetails({ span }: { span: Span }) {
  const { [INPUTS]: inputs, [OUTPUTS]: outputs, ...others } = span.attributes;
  const rest = Object.entries(others).filter(([key]) => key !== "mlflow.traceRequestId");
  return (
    <Section title={span.name || "(no name)"}>
      {span.status.message && (
        <Text fz="sm" c="red" mb={8}>
          {span.status.message}
        </Text>
      )}
      {inputs !== undefined && (
        <>
          <Text fz="xs" fw={600}>
            In
          </Text>
          <CodeBlock source={shown(inputs)} plain={typeof inputs === "string"} />
        </>
      )}
      {outputs !== undefined && (
        <>
          <Text fz="xs" fw={600} mt={8}>
            Out
          </Text>
          <CodeBlock source={shown(outputs)} plain={typeof outputs === "string"} />
        </>
      )}
      {(span.events ?? []).map((event) => (
        <Text key={`${event.name} ${event.time_unix_nano}`} fz="sm" mt={8}>
          {event.name}{" "}
          <Text span c="dimmed" fz="xs">
            {formatDuration(since(BigInt(span.start_time_unix_nano), event.time_unix_nano))} in
            {Object.keys(event.attributes).length > 0 ? `, ${JSON.stringify(event.attributes)}` : ""}
          </Text>
        </Text>
      ))}
      {rest.length > 0 && <Facts rows={rest.map(([key, value]) => [key, shown(value)])} />}
      {inputs === undefined && outputs === undefined && rest.length === 0 && !span.events && (
        <Text fz="sm" c="dimmed">
          Nothing was recorded of this step but its time.
        </Text>
      )}
    </Section>
  );
}
