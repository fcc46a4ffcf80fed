import type { Num, Point } from "../api.ts";

/** One line of a chart. */
export interface Series {
  id: string;
  /** Shown in the legend and on hover. */
  label: string;
  color: string;
  dashed: boolean;
  points: Point[];
}

export interface ChartOptions {
  log: boolean;
  /** Weight of the previous values: 0 (raw points) to 0.99. */
  smoothing: number;
  x: "step" | "time";
}

export interface ChartRow {
  [key: string]: string | number | null;
  series: string;
  x: number;
  y: number | null;
  raw: number | null;
}

const toNumber = (value: Num): number => (typeof value === "string" ? Number(value) : value);

/**
 * Chart rows, smoothed by a bias-corrected exponential moving average,
 * without values that the scale cannot show. A NaN breaks the line.
 */
export function chartRows(series: Series[], { log, smoothing, x }: ChartOptions): ChartRow[] {
  const rows: ChartRow[] = [];
  for (const { id, points } of series) {
    let average = 0;
    let weight = 0;
    const start = points.reduce((least, point) => Math.min(least, point.timestamp), Number.POSITIVE_INFINITY);
    for (const point of points) {
      const raw = toNumber(point.value);
      const drawable = Number.isFinite(raw) && Math.abs(raw) < 1.79e308 && (!log || raw > 0);
      let y: number | null = null;
      if (drawable) {
        average = average * smoothing + raw * (1 - smoothing);
        weight = weight * smoothing + (1 - smoothing);
        y = smoothing === 0 ? raw : average / weight;
      }
      rows.push({
        series: id,
        x: x === "step" ? point.step : (point.timestamp - start) / 1000,
        y,
        raw: drawable ? raw : null,
      });
    }
  }
  return rows;
}

/** A line chart of series over steps or seconds. */
export function chartSpec(
  series: Pick<Series, "id" | "color" | "dashed">[],
  { log, smoothing, x }: ChartOptions,
  height: number,
): object {
  const domain = series.map(({ id }) => id);
  const color = {
    field: "series",
    type: "nominal",
    legend: null,
    scale: { domain, range: series.map((it) => it.color) },
  };
  const strokeDash = {
    field: "series",
    type: "nominal",
    legend: null,
    scale: { domain, range: series.map(({ dashed }) => (dashed ? [5, 3] : [1, 0])) },
  };
  const xs = {
    field: "x",
    type: "quantitative",
    title: x === "step" ? "step" : "seconds",
    scale: { nice: false, zero: false },
    axis: { grid: false, tickCount: 6, format: x === "step" ? "~s" : "~r" },
  };
  const scale = log ? { type: "log", nice: true } : { type: "linear", zero: false, nice: true };
  const labelExpr =
    "datum.value != 0 && (abs(datum.value) < 0.001 || abs(datum.value) >= 1e6) ? format(datum.value, '.2~e') : format(datum.value, ',.6~r')";
  const axis = { tickCount: 5, labelExpr, labelFlush: true };
  const ys = (field: string) => ({ field, type: "quantitative", title: null, scale, axis });
  const line = { type: "line", interpolate: "linear", strokeWidth: 1.6, clip: true };
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    width: "container",
    height,
    // Recomputed on new data: later axis labels may be wider.
    autosize: { type: "fit", contains: "padding", resize: true },
    data: { name: "rows" },
    layer: [
      ...(smoothing > 0
        ? [{ mark: { ...line, opacity: 0.22, strokeWidth: 1 }, encoding: { x: xs, y: ys("raw"), color, strokeDash } }]
        : []),
      { mark: line, encoding: { x: xs, y: ys("y"), color, strokeDash } },
      {
        // A line with a single point is invisible.
        transform: [
          { joinaggregate: [{ op: "count", as: "points" }], groupby: ["series"] },
          { filter: "datum.points <= 20" },
        ],
        mark: { type: "point", filled: true, size: 22, opacity: 1 },
        encoding: { x: xs, y: ys("y"), color },
      },
      {
        params: [{ name: "at", select: { type: "point", on: "pointermove", nearest: true, clear: "pointerout" } }],
        mark: { type: "point", filled: true, size: 46 },
        encoding: {
          x: xs,
          y: ys("y"),
          color,
          opacity: { condition: { param: "at", empty: false, value: 1 }, value: 0 },
          tooltip: [
            { field: "series", title: "series" },
            { field: "x", type: "quantitative", title: x === "step" ? "step" : "seconds", format: ",~r" },
            { field: "raw", type: "quantitative", title: "value", format: ".6~g" },
            ...(smoothing > 0 ? [{ field: "y", type: "quantitative", title: "smoothed", format: ".6~g" }] : []),
          ],
        },
      },
    ],
  };
}
