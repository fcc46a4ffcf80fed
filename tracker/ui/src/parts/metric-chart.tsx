import { ActionIcon, Modal, Skeleton, Tooltip } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { Maximize2Icon } from "lucide-react";
import { useMemo, useState } from "react";
import { api, type Point } from "../api.ts";
import { formatNumber } from "../format.ts";
import { PALETTE } from "../theme.ts";
import classes from "./chart.module.css";
import { type ChartOptions, chartRows, chartSpec, type Series } from "./series.ts";
import { VegaView } from "./vega-view.tsx";

/** A run as a chart knows it. */
export interface ChartRun {
  id: string;
  name: string;
  color: string;
}

const EMPTY: Point[] = [];

/**
 * One chart: some metrics (such as train/loss and eval/loss) of one run in a colour each,
 * or of several runs in the runs' colours, with other metrics than the first dashed.
 */
export function MetricChart({
  title,
  keys,
  runs,
  options,
}: {
  title: string;
  keys: string[];
  runs: ChartRun[];
  options: ChartOptions;
}) {
  const [open, setOpen] = useState(false);
  const ids = runs.map(({ id }) => id);
  const results = useQueries({
    queries: keys.map((key) => ({ queryKey: ["history", key, ...ids], queryFn: () => api.samples(ids, key) })),
  });
  const pending = results.some((result) => result.isPending);
  const histories = results.map((result) => result.data ?? EMPTY);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the histories stand for themselves, one by one
  const series = useMemo(() => {
    const list: Series[] = [];
    keys.forEach((key, keyIndex) => {
      for (const [runIndex, run] of runs.entries()) {
        const points = (histories[keyIndex] ?? EMPTY).filter((point) => point.run_id === run.id);
        if (points.length === 0) continue;
        const single = runs.length === 1;
        const label = single ? key : keyIndex > 0 ? `${run.name} (${key})` : run.name;
        // Two runs may share a name; the chart tells series apart by this.
        const id = list.some((other) => other.id === label) ? `${label} (${runIndex + 1})` : label;
        const color = single ? (PALETTE[keyIndex % PALETTE.length] ?? run.color) : run.color;
        list.push({ id, label: id, color, dashed: !single && keyIndex > 0, points });
      }
    });
    return list;
  }, [keys.join("\n"), runs, ...histories]);
  const { log, smoothing, x } = options;
  const rows = useMemo(() => chartRows(series, { log, smoothing, x }), [series, log, smoothing, x]);
  const shape = JSON.stringify(series.map(({ id, color, dashed }) => ({ id, color, dashed })));
  const spec = useMemo(
    () => chartSpec(JSON.parse(shape) as Series[], { log, smoothing, x }, 190),
    [shape, log, smoothing, x],
  );
  const large = useMemo(
    () => chartSpec(JSON.parse(shape) as Series[], { log, smoothing, x }, 460),
    [shape, log, smoothing, x],
  );
  const several = runs.length > 1;
  const dashed = several ? keys.filter((key) => key !== keys[0]) : [];
  const legend = (
    <div className={classes.legend}>
      {series
        .filter((it) => !(several && it.dashed))
        .map((it) => (
          <span key={it.id} title={it.label}>
            <span className={classes.swatch} style={{ borderColor: it.color }} />
            <span className={classes.name}>{it.label}</span>
            <b>{formatNumber(it.points.at(-1)?.value)}</b>
          </span>
        ))}
      {dashed.length > 0 && <span>dashed: {dashed.join(", ")}</span>}
    </div>
  );
  return (
    <div className={classes.card}>
      <div className={classes.cardHead}>
        <span className={classes.title} title={title}>
          {title}
        </span>
        <Tooltip label="Enlarge">
          <ActionIcon
            variant="subtle"
            color="gray"
            size="sm"
            aria-label={`Enlarge ${title}`}
            onClick={() => setOpen(true)}
          >
            <Maximize2Icon size={14} />
          </ActionIcon>
        </Tooltip>
      </div>
      {pending ? (
        <Skeleton className={classes.loading} />
      ) : (
        <>
          {legend}
          <VegaView spec={spec} rows={rows} label={`${title} by ${x}`} />
        </>
      )}
      <Modal opened={open} onClose={() => setOpen(false)} title={title} size="min(1200px, 96vw)" centered>
        {legend}
        <VegaView spec={large} rows={rows} label={`${title} by ${x}, large`} />
      </Modal>
    </div>
  );
}
