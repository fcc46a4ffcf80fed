import { Box, Button, Code, Group, Select, Text } from "@mantine/core";
import { useLocalStorage } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { createLink, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useCallback, useMemo, useState } from "react";
import { useRefusal } from "../access.ts";
import { api, type Experiment } from "../api.ts";
import { Empty, Failure } from "../parts/bits.tsx";
import { ColumnMenu } from "./column-menu.tsx";
import { COLUMN_TAGS, columnOf, sensibleColumns } from "./columns.tsx";
import classes from "./runs.module.css";
import { filterOf, SearchBox } from "./search-box.tsx";
import { type Order, RunsTable } from "./table.tsx";

const ItemLink = createLink("a");
const NEWEST: Order = { field: "attributes.start_time", ascending: false };

const orderText = ({ field, ascending }: Order): string => `${field} ${ascending ? "ASC" : "DESC"}`;
const parseOrder = (text: string | undefined): Order => {
  const match = /^(.*) (ASC|DESC)$/.exec(text ?? "");
  return match?.[1] ? { field: match[1], ascending: match[2] === "ASC" } : NEWEST;
};

function ExperimentList({ experiments, current }: { experiments: Experiment[]; current: string | undefined }) {
  const all = experiments.reduce((sum, { runs }) => sum + runs, 0);
  return (
    <nav className={classes.side} aria-label="Experiments">
      <Text fz="xs" fw={600} c="dimmed" px={12} pt={12} pb={4}>
        Experiments
      </Text>
      <ItemLink to="/" className={classes.item} data-current={current === undefined || undefined}>
        <span>All experiments</span>
        <span>{all.toLocaleString("en-US")}</span>
      </ItemLink>
      {experiments.map((experiment) => (
        <ItemLink
          key={experiment.experiment_id}
          to="/experiments/$experimentId"
          params={{ experimentId: experiment.experiment_id }}
          className={classes.item}
          data-current={current === experiment.experiment_id || undefined}
          title={experiment.name}
        >
          <span>{experiment.name}</span>
          <span>{experiment.runs.toLocaleString("en-US")}</span>
        </ItemLink>
      ))}
    </nav>
  );
}

function NoRuns({ filtered }: { filtered: boolean }) {
  if (filtered) return <Empty title="No run matches">Change the search, or clear it to see all runs.</Empty>;
  return (
    <Empty title="No runs yet">
      Open <Code>notebooks/01-fine-tune.ipynb</Code> in JupyterLab and run it: training records itself here, with no
      line of logging code. Any MLflow client works too, with this tracker's address as its tracking URI:
      <Code block mt="sm" ta="left">
        {`export MLFLOW_TRACKING_URI=${window.location.origin}
export MLFLOW_TRACKING_TOKEN=<token>`}
      </Code>
    </Empty>
  );
}

/** Run list of all or one experiment, with search, sorting and selection for comparison. */
export function RunsPage() {
  const { experimentId } = useParams({ strict: false });
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const client = useQueryClient();
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const experiments = useQuery({ queryKey: ["experiments"], queryFn: api.experiments });
  const list = experiments.data?.experiments ?? [];
  const ids = useMemo(() => {
    if (experimentId !== undefined) return [experimentId];
    return (experiments.data?.experiments ?? []).map((experiment) => experiment.experiment_id);
  }, [experimentId, experiments.data]);
  const keys = useQuery({ queryKey: ["keys", ids], queryFn: () => api.keys(ids), enabled: ids.length > 0 });
  const known = keys.data ?? { metrics: [], params: [] };

  const [choice, setChoice] = useLocalStorage<string[] | null>({
    key: `anneal.columns.${experimentId ?? "all"}`,
    defaultValue: null,
    getInitialValueInEffect: false,
  });
  const shownIds = choice ?? sensibleColumns(known);
  const shownKey = shownIds.join("\n");
  // biome-ignore lint/correctness/useExhaustiveDependencies: the joined ids stand for the list
  const columns = useMemo(() => shownIds.map(columnOf).filter((column) => column !== undefined), [shownKey]);
  const order = parseOrder(search.order);
  const typed = search.filter ?? "";
  const orderBy = orderText(order);
  const request = useMemo(
    () => ({
      experiment_ids: ids,
      filter: filterOf(typed),
      order_by: [orderBy],
      metrics: shownKey.split("\n").flatMap((id) => (id.startsWith("metric:") ? [id.slice(7)] : [])),
      params: shownKey.split("\n").flatMap((id) => (id.startsWith("param:") ? [id.slice(6)] : [])),
      tags: COLUMN_TAGS,
    }),
    [ids, typed, orderBy, shownKey],
  );

  const setSearch = useCallback(
    (change: { filter?: string; order?: string }) =>
      navigate({
        to: ".",
        search: (old) => {
          const next = { ...old, ...change };
          return { ...(next.filter ? { filter: next.filter } : {}), ...(next.order ? { order: next.order } : {}) };
        },
        replace: true,
      }),
    [navigate],
  );
  const onSearch = useCallback((filter: string) => void setSearch({ filter }), [setSearch]);
  const select = (runs: string[], on: boolean): void => {
    const next = new Set(selected);
    for (const id of runs) {
      if (on) next.add(id);
      else next.delete(id);
    }
    setSelected(next);
  };
  const remove = useMutation({
    mutationFn: async () => {
      for (const id of selected) await api.deleteRun(id);
    },
    onSuccess: () => {
      setSelected(new Set());
      void client.invalidateQueries({ queryKey: ["runs"] });
      void client.invalidateQueries({ queryKey: ["experiments"] });
    },
  });
  const refusal = useRefusal("POST /api/2.0/mlflow/runs/delete", { experiment_id: experimentId });
  const current = list.find((experiment) => experiment.experiment_id === experimentId);

  if (experiments.error) {
    return (
      <Box p="md">
        <Failure error={experiments.error} />
      </Box>
    );
  }
  return (
    <Box className={classes.page}>
      <ExperimentList experiments={list} current={experimentId} />
      <Box className={classes.content}>
        <Box className={classes.tools}>
          <Select
            className={classes.picker}
            aria-label="Experiment"
            allowDeselect={false}
            value={experimentId ?? ""}
            data={[
              { value: "", label: "All experiments" },
              ...list.map((it) => ({ value: it.experiment_id, label: `${it.name} (${it.runs})` })),
            ]}
            onChange={(id) =>
              void navigate(id ? { to: "/experiments/$experimentId", params: { experimentId: id } } : { to: "/" })
            }
          />
          <Box className={classes.search}>
            <SearchBox value={typed} onSearch={onSearch} />
          </Box>
          <ColumnMenu keys={known} shown={shownIds} onShown={setChoice} onReset={() => setChoice(null)} />
        </Box>
        {ids.length === 0 ? null : (
          <RunsTable
            key={experimentId ?? "all"}
            request={request}
            columns={columns}
            order={order}
            onOrder={(next) => void setSearch({ order: orderText(next) })}
            selected={selected}
            onSelect={select}
            empty={<NoRuns filtered={typed !== ""} />}
            summary={(total) => (
              <Group gap="sm" className={classes.summary}>
                <h1 className={classes.heading} title={current?.name}>
                  {current?.name ?? (experimentId === undefined ? "All runs" : "")}
                </h1>
                <Text fz="xs" c="dimmed" aria-live="polite">
                  {total === undefined ? "" : `${total.toLocaleString("en-US")} ${total === 1 ? "run" : "runs"}`}
                </Text>
                {selected.size > 0 && (
                  <Group gap="xs" ml="auto">
                    <Text fz="xs">{selected.size} selected</Text>
                    <Button
                      size="compact-xs"
                      disabled={selected.size < 2}
                      title={selected.size < 2 ? "Select at least two runs" : undefined}
                      onClick={() => void navigate({ to: "/compare", search: { runs: [...selected].join(",") } })}
                    >
                      Compare
                    </Button>
                    <Button size="compact-xs" variant="default" onClick={() => setSelected(new Set())}>
                      Clear
                    </Button>
                    <Button
                      size="compact-xs"
                      variant="subtle"
                      color="red"
                      loading={remove.isPending}
                      disabled={refusal !== undefined}
                      title={refusal}
                      onClick={() => {
                        if (
                          window.confirm(
                            selected.size === 1
                              ? "Delete this run? It can be restored on its page."
                              : `Delete ${selected.size} runs? They can be restored on their pages.`,
                          )
                        )
                          remove.mutate();
                      }}
                    >
                      Delete
                    </Button>
                  </Group>
                )}
                {remove.error && <Failure error={remove.error} />}
              </Group>
            )}
          />
        )}
      </Box>
    </Box>
  );
}
