import { Button, Loader, Tabs, Text } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useEffect, useMemo, useState } from "react";
import { useRefusal } from "../access.ts";
import { ApiError, api, type Run } from "../api.ts";
import { formatDuration } from "../format.ts";
import { Empty, Failure, PageLink, StatusBadge, When } from "../parts/bits.tsx";
import { MetricCharts } from "../parts/metric-charts.tsx";
import shell from "../shell.module.css";
import { PALETTE } from "../theme.ts";
import { ArtifactsTab } from "./artifacts.tsx";
import { ChangeRun } from "./change.tsx";
import { isCurve, tagOf } from "./data.ts";
import { Notebook } from "./notebook.tsx";
import { Overview } from "./overview.tsx";
import { Parameters } from "./parameters.tsx";

/** Elapsed time, updated every second while the run is active. */
function Elapsed({ run }: { run: Run }) {
  const { start_time, end_time, status } = run.info;
  const [now, setNow] = useState(() => Date.now());
  const running = end_time === undefined && status === "RUNNING";
  useEffect(() => {
    if (!running) return undefined;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [running]);
  if (!running && end_time === undefined) return null;
  return <>{formatDuration((end_time ?? now) - start_time)}</>;
}

function NotebookTab({ runId }: { runId: string }) {
  const text = useQuery({
    queryKey: ["artifacts", runId, "text", "notebook.ipynb"],
    queryFn: () => api.text(runId, "notebook.ipynb", 20_000_000),
  });
  if (text.error instanceof ApiError && text.error.status === 404) {
    return (
      <Empty title="No notebook">
        This run did not record one. Runs that are started from a notebook keep its cells as they were executed.
      </Empty>
    );
  }
  if (text.error) return <Failure error={text.error} />;
  return text.data === undefined ? <Loader size="sm" /> : <Notebook text={text.data} />;
}

function Deleted({ run }: { run: Run }) {
  const client = useQueryClient();
  const refusal = useRefusal("POST /api/2.0/mlflow/runs/restore", { experiment_id: run.info.experiment_id });
  const restore = useMutation({
    mutationFn: () => api.restoreRun(run.info.run_id),
    onSuccess: () => void client.invalidateQueries(),
  });
  return (
    <>
      <Text fz="sm" c="red">
        Deleted
      </Text>
      <Button
        variant="default"
        size="compact-xs"
        disabled={refusal !== undefined}
        title={refusal}
        loading={restore.isPending}
        onClick={() => restore.mutate()}
      >
        Restore
      </Button>
      {restore.error && <Failure error={restore.error} />}
    </>
  );
}

const TABS = ["Overview", "Charts", "Parameters", "Artifacts", "Notebook"] as const;

/** Run page. */
export function RunPage() {
  const { runId } = useParams({ from: "/runs/$runId" });
  const search = useSearch({ from: "/runs/$runId" });
  const navigate = useNavigate();
  const query = useQuery({ queryKey: ["run", runId], queryFn: () => api.run(runId) });
  const experiments = useQuery({ queryKey: ["experiments"], queryFn: api.experiments });
  const run = query.data;
  const keys = (run?.data.metrics ?? []).map(({ key }) => key).filter(isCurve);
  const runs = useMemo(
    () => [{ id: runId, name: run?.info.run_name ?? "", color: PALETTE[0] ?? "" }],
    [runId, run?.info.run_name],
  );
  if (query.error) {
    return (
      <div className={shell.page}>
        <Failure error={query.error} />
        <PageLink to="/">All runs</PageLink>
      </div>
    );
  }
  if (!run) return <Loader m="lg" size="sm" />;
  const experiment = experiments.data?.experiments.find((it) => it.experiment_id === run.info.experiment_id);
  const tab = TABS.find((name) => name.toLowerCase() === search.tab) ?? "Overview";
  const go = (next: string | null, file?: string): void =>
    void navigate({
      to: "/runs/$runId",
      params: { runId },
      search: { ...(next && next !== "Overview" ? { tab: next.toLowerCase() } : {}), ...(file ? { file } : {}) },
      replace: true,
    });
  const notebook = tagOf(run, "mlflow.source.name");
  return (
    <div className={shell.page}>
      <div className={shell.head}>
        <div className={shell.crumbs}>
          <PageLink to="/experiments/$experimentId" params={{ experimentId: run.info.experiment_id }} fz="xs">
            {experiment?.name ?? `Experiment ${run.info.experiment_id}`}
          </PageLink>{" "}
          / runs
        </div>
        <h1 className={shell.title} title={run.info.run_name}>
          {run.info.run_name}
        </h1>
        <StatusBadge status={run.info.status} />
        {run.info.lifecycle_stage === "deleted" && <Deleted run={run} />}
        <Text fz="sm" c="dimmed" component="div">
          <When time={run.info.start_time} /> · <Elapsed run={run} />
          {notebook && (
            <>
              {" · "}
              <span title={notebook}>{notebook.split("/").pop()}</span>
            </>
          )}
        </Text>
        {run.info.lifecycle_stage === "active" && (
          <div className={shell.actions}>
            <ChangeRun run={run} />
          </div>
        )}
      </div>
      <Tabs value={tab} onChange={(next) => go(next)} keepMounted={false}>
        <Tabs.List mb="sm">
          {TABS.map((name) => (
            <Tabs.Tab key={name} value={name}>
              {name}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="Overview">
          <Overview run={run} />
        </Tabs.Panel>
        <Tabs.Panel value="Charts">
          <MetricCharts keys={keys} runs={runs} />
        </Tabs.Panel>
        <Tabs.Panel value="Parameters">
          <Parameters params={run.data.params ?? []} />
        </Tabs.Panel>
        <Tabs.Panel value="Artifacts">
          <ArtifactsTab runId={runId} chosen={search.file} onChoose={(path) => go("Artifacts", path)} />
        </Tabs.Panel>
        <Tabs.Panel value="Notebook">
          <NotebookTab runId={runId} />
        </Tabs.Panel>
      </Tabs>
    </div>
  );
}
