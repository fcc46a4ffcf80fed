import { CloseButton, Loader, Switch, Table, Tabs, Text } from "@mantine/core";
import { useLocalStorage } from "@mantine/hooks";
import { useQueries } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { type ReactNode, useMemo } from "react";
import { api, type Run } from "../api.ts";
import { formatDuration, formatNumber } from "../format.ts";
import { Empty, Failure, PageLink, Section, StatusDot, When } from "../parts/bits.tsx";
import { MetricCharts } from "../parts/metric-charts.tsx";
import { isCurve, lowerIsBetter, tagOf } from "../run/data.ts";
import shell from "../shell.module.css";
import { PALETTE } from "../theme.ts";
import classes from "./compare.module.css";

/** Maximum number of distinguishable lines in a chart. */
const MAX_RUNS = 20;

interface Row {
  key: string;
  values: (string | undefined)[];
  shown: ReactNode[];
  best?: number;
}

const differs = ({ values }: Row): boolean => new Set(values).size > 1;

function paramRows(runs: Run[]): Row[] {
  const keys = [...new Set(runs.flatMap((run) => (run.data.params ?? []).map(({ key }) => key)))].sort();
  return keys.map((key) => {
    const values = runs.map((run) => run.data.params?.find((param) => param.key === key)?.value);
    return { key, values, shown: values };
  });
}

function metricRows(runs: Run[]): Row[] {
  const keys = [...new Set(runs.flatMap((run) => (run.data.metrics ?? []).map(({ key }) => key)))];
  const rank = (key: string): number => (/^(test|after)\//.test(key) ? 0 : key.startsWith("system/") ? 2 : 1);
  keys.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  return keys.map((key) => {
    const numbers = runs.map((run) => run.data.metrics?.find((metric) => metric.key === key)?.value);
    const lower = key.startsWith("system/") || key.startsWith("before/") ? undefined : lowerIsBetter(key);
    const finite = numbers.map(Number).filter(Number.isFinite);
    const goal =
      lower === undefined || finite.length < 2 ? undefined : lower ? Math.min(...finite) : Math.max(...finite);
    const best =
      goal === undefined || new Set(finite).size < 2 ? -1 : numbers.findIndex((value) => Number(value) === goal);
    return {
      key,
      values: numbers.map((value) => value?.toString()),
      shown: numbers.map((value) => formatNumber(value)),
      best,
    };
  });
}

function CompareTable({
  title,
  rows,
  runs,
  numeric,
  only,
}: {
  title: string;
  rows: Row[];
  runs: Run[];
  numeric?: boolean;
  only: boolean;
}) {
  const shown = only ? rows.filter(differs) : rows;
  return (
    <Section
      title={title}
      flush
      aside={<Text fz="xs" c="dimmed">{`${rows.filter(differs).length} of ${rows.length} differ`}</Text>}
    >
      {shown.length === 0 ? (
        <Empty title={rows.length === 0 ? "Nothing was logged" : "No differences"} />
      ) : (
        <Table className={classes.table} stickyHeader>
          <Table.Thead>
            <Table.Tr>
              <Table.Th className={classes.first} />
              {runs.map((run, index) => (
                <Table.Th key={run.info.run_id} ta={numeric ? "right" : "left"}>
                  <span className={classes.mark} style={{ background: PALETTE[index % PALETTE.length] }} />{" "}
                  {run.info.run_name}
                </Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {shown.map((row) => (
              <Table.Tr key={row.key} data-differs={(differs(row) && !numeric) || undefined}>
                <Table.Td className={classes.first} title={row.key}>
                  {row.key}
                </Table.Td>
                {row.shown.map((value, index) => (
                  <Table.Td
                    key={runs[index]?.info.run_id ?? index}
                    className={numeric ? classes.figure : classes.value}
                    data-best={row.best === index || undefined}
                    title={row.values[index]}
                  >
                    {value ?? <span className={classes.none}>not set</span>}
                  </Table.Td>
                ))}
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Section>
  );
}

function RunHeads({ runs, onRemove }: { runs: Run[]; onRemove(id: string): void }) {
  return (
    <ul className={classes.runs}>
      {runs.map((run, index) => (
        <li key={run.info.run_id}>
          <span className={classes.mark} style={{ background: PALETTE[index % PALETTE.length] }} />
          <StatusDot status={run.info.status} />
          <PageLink to="/runs/$runId" params={{ runId: run.info.run_id }} fz="sm" truncate title={run.info.run_name}>
            {run.info.run_name}
          </PageLink>
          <Text fz="xs" c="dimmed" component="span" className={classes.when}>
            <When time={run.info.start_time} />
            {run.info.end_time !== undefined && ` · ${formatDuration(run.info.end_time - run.info.start_time)}`}
            {tagOf(run, "mlflow.source.name") && ` · ${tagOf(run, "mlflow.source.name")}`}
          </Text>
          <CloseButton
            size="xs"
            aria-label={`Take ${run.info.run_name} out`}
            onClick={() => onRemove(run.info.run_id)}
          />
        </li>
      ))}
    </ul>
  );
}

/** Compares runs: differing parameters, metrics, and curves in shared charts. */
export function ComparePage() {
  const search = useSearch({ from: "/compare" });
  const navigate = useNavigate();
  const [only, setOnly] = useLocalStorage({
    key: "anneal.compare.differences",
    defaultValue: true,
    getInitialValueInEffect: false,
  });
  const requestedIds = [...new Set((search.runs ?? "").split(",").filter((id) => id !== ""))];
  const ids = requestedIds.slice(0, MAX_RUNS);
  const results = useQueries({ queries: ids.map((id) => ({ queryKey: ["run", id], queryFn: () => api.run(id) })) });
  const failure = results.find((result) => result.error)?.error;
  const runs = results.flatMap((result) => (result.data ? [result.data] : []));
  const lineKey = runs.map((run) => `${run.info.run_id}\t${run.info.run_name}`).join("\n");
  const lines = useMemo(
    () =>
      lineKey.split("\n").map((line, index) => {
        const [id = "", name = ""] = line.split("\t");
        return { id, name, color: PALETTE[index % PALETTE.length] ?? "" };
      }),
    [lineKey],
  );
  if (ids.length < 2) {
    return (
      <Empty title="Nothing to compare">
        Select two or more runs in the <PageLink to="/">list of runs</PageLink>, then press Compare.
      </Empty>
    );
  }
  if (failure) {
    return (
      <div className={shell.page}>
        <Failure error={failure} />
      </div>
    );
  }
  if (runs.length < ids.length) return <Loader m="lg" size="sm" />;
  const go = (change: { runs?: string; tab?: string }): void =>
    void navigate({ to: "/compare", search: { ...search, ...change }, replace: true });
  const keys = [...new Set(runs.flatMap((run) => (run.data.metrics ?? []).map(({ key }) => key)))].filter(isCurve);
  const tab = search.tab ?? "charts";
  return (
    <div className={shell.page}>
      <div className={shell.head}>
        <h1 className={shell.title}>Compare {runs.length} runs</h1>
        {requestedIds.length > MAX_RUNS && (
          <Text fz="xs" c="dimmed">
            the first {MAX_RUNS} of {requestedIds.length}
          </Text>
        )}
      </div>
      <RunHeads runs={runs} onRemove={(id) => go({ runs: ids.filter((other) => other !== id).join(",") })} />
      <Tabs value={tab} onChange={(next) => go({ tab: next ?? "charts" })} keepMounted={false}>
        <Tabs.List mb="sm">
          <Tabs.Tab value="charts">Charts</Tabs.Tab>
          <Tabs.Tab value="parameters">Parameters</Tabs.Tab>
          <Tabs.Tab value="metrics">Metrics</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="charts">
          <MetricCharts keys={keys} runs={lines} />
        </Tabs.Panel>
        <Tabs.Panel value="parameters">
          <Switch
            label="Only what differs"
            checked={only}
            onChange={(event) => setOnly(event.currentTarget.checked)}
            mb="sm"
          />
          <CompareTable title="Parameters" rows={paramRows(runs)} runs={runs} only={only} />
        </Tabs.Panel>
        <Tabs.Panel value="metrics">
          <CompareTable title="Latest metrics" rows={metricRows(runs)} runs={runs} numeric only={false} />
        </Tabs.Panel>
      </Tabs>
    </div>
  );
}
