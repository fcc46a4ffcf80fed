import { Group, SegmentedControl, Slider, Switch, Text, TextInput } from "@mantine/core";
import { useLocalStorage } from "@mantine/hooks";
import { useMemo, useState } from "react";
import { Empty } from "./bits.tsx";
import classes from "./chart.module.css";
import { type ChartRun, MetricChart } from "./metric-chart.tsx";
import type { ChartOptions } from "./series.ts";

/** Groups metrics by chart: training and evaluation values of the same metric share one. */
function groups(keys: string[]): { title: string; keys: string[]; system: boolean }[] {
  const charts = new Map<string, string[]>();
  for (const key of keys) {
    const title = key.replace(/^(train|eval)\//, "");
    charts.set(title, [...(charts.get(title) ?? []), key]);
  }
  const rank = (title: string): number =>
    title.startsWith("system/") ? 3 : title === "loss" ? 0 : title === "perplexity" ? 1 : 2;
  return [...charts]
    .map(([title, list]) => ({
      title: list.length === 1 && list[0] ? list[0] : title,
      // Training first: it gets the solid line.
      keys: list.sort((a, b) => b.localeCompare(a)),
      system: title.startsWith("system/"),
      rank: rank(title),
    }))
    .sort((a, b) => a.rank - b.rank || a.title.localeCompare(b.title));
}

/** Charts of all metrics with shared controls: scale, smoothing, axis and name filter. */
export function MetricCharts({ keys, runs }: { keys: string[]; runs: ChartRun[] }) {
  const [options, setOptions] = useLocalStorage<ChartOptions>({
    key: "anneal.charts",
    defaultValue: { log: false, smoothing: 0, x: "step" },
    getInitialValueInEffect: false,
  });
  const [nameFilter, setNameFilter] = useState("");
  const all = useMemo(() => groups(keys), [keys]);
  const shown = all.filter(({ keys: list }) =>
    list.some((key) => key.toLowerCase().includes(nameFilter.toLowerCase())),
  );
  if (keys.length === 0) {
    return (
      <Empty title="No curves yet">
        Metrics that are logged at more than one step are drawn here, while the run goes on.
      </Empty>
    );
  }
  return (
    <>
      <Group gap="lg" mb="sm">
        {all.length > 6 && (
          <TextInput
            aria-label="Find a chart"
            placeholder="Find a chart"
            value={nameFilter}
            onChange={(event) => setNameFilter(event.currentTarget.value)}
            w={160}
          />
        )}
        <Switch
          label="Log scale"
          checked={options.log}
          onChange={(event) => setOptions({ ...options, log: event.currentTarget.checked })}
        />
        <Group gap="xs" wrap="nowrap">
          <Text fz="xs" id="smoothing-label">
            Smoothing
          </Text>
          <Slider
            w={130}
            size="sm"
            min={0}
            max={0.99}
            step={0.01}
            value={options.smoothing}
            onChange={(smoothing) => setOptions({ ...options, smoothing })}
            label={(value) => value.toFixed(2)}
            thumbProps={{ "aria-labelledby": "smoothing-label" }}
          />
        </Group>
        <SegmentedControl
          size="xs"
          aria-label="Horizontal axis"
          value={options.x}
          onChange={(x) => setOptions({ ...options, x: x === "time" ? "time" : "step" })}
          data={[
            { value: "step", label: "Step" },
            { value: "time", label: "Time" },
          ]}
        />
      </Group>
      <div className={classes.grid}>
        {shown.map((group) => (
          <MetricChart key={group.title} title={group.title} keys={group.keys} runs={runs} options={options} />
        ))}
      </div>
    </>
  );
}
