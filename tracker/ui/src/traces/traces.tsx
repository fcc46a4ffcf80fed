import { Button, Code, Group, Loader, Select, Table, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { api } from "../api.ts";
import { formatDuration } from "../format.ts";
import { Empty, Failure, PageLink, Section, When } from "../parts/bits.tsx";
import shell from "../shell.module.css";
import { durationOf, nameOf, type TraceInfo, traces } from "./api.ts";
import { TraceState } from "./state.tsx";
import classes from "./traces.module.css";

/** Converts search input to a filter: filters pass through, other text matches part of the name. */
const filterOf = (text: string): string =>
  text === "" || /[=<>]|\blike\b/i.test(text) ? text : `name ILIKE '%${text.replaceAll("'", "")}%'`;

/** Trace list, newest first. */
export function TracesPage() {
  const { experiment } = useSearch({ from: "/traces" });
  const navigate = useNavigate();
  const experiments = useQuery({ queryKey: ["experiments"], queryFn: api.experiments });
  const list = experiments.data?.experiments ?? [];
  const ids = experiment === undefined ? list.map((it) => it.experiment_id) : [experiment];
  const [text, setText] = useState("");
  const [search] = useDebouncedValue(text.trim(), 300);
  const query = useInfiniteQuery({
    queryKey: ["traces", ids, search],
    queryFn: ({ pageParam }) => traces.search(ids, filterOf(search), pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_page_token,
    enabled: ids.length > 0,
  });
  const rows = query.data?.pages.flatMap((page) => page.traces ?? []) ?? [];
  const failure = experiments.error ?? query.error;
  return (
    <div className={shell.page}>
      <div className={shell.head}>
        <h1 className={shell.title}>Traces</h1>
      </div>
      <Section title="Requests that were traced" flush>
        <Group gap="xs" p="sm">
          <Select
            aria-label="Experiment"
            placeholder="All experiments"
            clearable
            searchable
            w={220}
            data={list.map((it) => ({ value: it.experiment_id, label: it.name }))}
            value={experiment ?? null}
            onChange={(next) => void navigate({ to: "/traces", search: next ? { experiment: next } : {} })}
          />
          <TextInput
            aria-label="Search"
            placeholder="A name, or status = 'ERROR' AND execution_time > 1000"
            className={classes.search}
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
          />
        </Group>
        {failure && <Failure error={failure} />}
        {query.isPending && !failure && <Loader m="lg" size="sm" />}
        {query.data && rows.length === 0 && (search === "" ? <NoTraces /> : <Empty title="No trace matches" />)}
        {rows.length > 0 && <TraceTable rows={rows} />}
        {query.hasNextPage && (
          <Button
            m="sm"
            variant="default"
            loading={query.isFetchingNextPage}
            onClick={() => void query.fetchNextPage()}
          >
            Earlier
          </Button>
        )}
      </Section>
    </div>
  );
}

function TraceTable({ rows }: { rows: TraceInfo[] }) {
  return (
    <div className={classes.scroll}>
      <Table highlightOnHover className={classes.table}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Name</Table.Th>
            <Table.Th>State</Table.Th>
            <Table.Th>When</Table.Th>
            <Table.Th>Duration</Table.Th>
            <Table.Th>Request</Table.Th>
            <Table.Th>Response</Table.Th>
            <Table.Th>Run</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map((trace) => {
            const took = durationOf(trace);
            const run = trace.trace_metadata["mlflow.sourceRun"];
            return (
              <Table.Tr key={trace.trace_id}>
                <Table.Td className={classes.name}>
                  <PageLink
                    to="/traces/$traceId"
                    params={{ traceId: trace.trace_id }}
                    fz="sm"
                    fw={550}
                    title={nameOf(trace)}
                  >
                    {nameOf(trace)}
                  </PageLink>
                </Table.Td>
                <Table.Td>
                  <TraceState state={trace.state} />
                </Table.Td>
                <Table.Td className={classes.short}>
                  <When time={Date.parse(trace.request_time)} />
                </Table.Td>
                <Table.Td className={classes.short}>{took === undefined ? "" : formatDuration(took)}</Table.Td>
                <Table.Td className={classes.preview} title={trace.request_preview}>
                  {trace.request_preview}
                </Table.Td>
                <Table.Td className={classes.preview} title={trace.response_preview}>
                  {trace.response_preview}
                </Table.Td>
                <Table.Td className={classes.short}>
                  {run && (
                    <PageLink to="/runs/$runId" params={{ runId: run }} fz="sm">
                      {run.slice(0, 8)}
                    </PageLink>
                  )}
                </Table.Td>
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
    </div>
  );
}

function NoTraces() {
  return (
    <Empty title="No traces yet">
      Any program that speaks OpenTelemetry can send its traces here, and so can MLflow's clients:
      <Code block mt="sm" ta="left">
        {`export OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=${window.location.origin}/v1/traces
export OTEL_EXPORTER_OTLP_TRACES_HEADERS="authorization=Bearer%20<token>,x-mlflow-experiment-id=0"`}
      </Code>
    </Empty>
  );
}
