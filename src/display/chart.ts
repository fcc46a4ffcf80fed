/** A line of a chart. */
export interface Series {
  name: string;
  points: readonly { x: number; y: number }[];
}

/** Labels and size of a line chart. */
export interface LineChartOptions {
  title?: string;
  xTitle?: string;
  yTitle?: string;
  /** Pixels. */
  width?: number;
  height?: number;
  /** Logarithmic y axis. */
  logY?: boolean;
}

/** MIME type of Vega-Lite charts in JupyterLab. */
export const vegaLiteMime = "application/vnd.vegalite.v5+json";

/** Maximum points to draw per series, about the width of a chart in pixels. */
const resolution = 400;

/** Series with at most this many points are drawn with point marks. */
const sparse = 20;

/** Returns a line chart as a Vega-Lite specification. Points that are not finite are skipped. */
export function lineChart(series: readonly Series[], options: LineChartOptions = {}): Record<string, unknown> {
  const { title, xTitle = "step", yTitle = "", width = 520, height = 240, logY = false } = options;
  const values = series.flatMap(({ name, points }) => {
    const shown = downsample(points.filter(({ y }) => Number.isFinite(y)));
    return shown.map(({ x, y }) => ({ x, y, series: name, sparse: shown.length <= sparse }));
  });
  const first = values.reduce((least, { x }) => Math.min(least, x), Number.POSITIVE_INFINITY);
  const span = values.reduce((most, { x }) => Math.max(most, x - first), 1);
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v5.json",
    ...(title ? { title: { text: title, anchor: "start", fontSize: 13 } } : {}),
    width,
    height,
    data: { values },
    encoding: {
      x: {
        field: "x",
        type: "quantitative",
        title: xTitle,
        // No ticks between integer steps.
        axis: {
          grid: false,
          tickMinStep: 1,
          ...(values.every(({ x }) => Number.isInteger(x)) ? { tickCount: Math.min(10, span) } : {}),
        },
        scale: { nice: false },
      },
      y: { field: "y", type: "quantitative", title: yTitle, scale: { zero: false, type: logY ? "log" : "linear" } },
      color: {
        field: "series",
        type: "nominal",
        title: null,
        sort: series.map(({ name }) => name),
        legend: { orient: "top", direction: "horizontal", offset: 4 },
      },
      tooltip: [
        { field: "series", title: "series" },
        { field: "x", title: xTitle },
        { field: "y", title: yTitle || "value", format: ".4f" },
      ],
    },
    layer: [
      { mark: { type: "line", clip: true, strokeWidth: 1.6 } },
      // Point marks for sparse series: a line through one point is invisible. Vega warns about a layer without points.
      ...(values.some(({ sparse }) => sparse)
        ? [{ transform: [{ filter: "datum.sparse" }], mark: { type: "circle", size: 28, opacity: 1 } }]
        : []),
    ],
    config: { view: { stroke: null }, font: "system-ui, sans-serif" },
  };
}

/** Downsamples to the means of equal intervals. The last point is kept. */
function downsample(points: readonly { x: number; y: number }[]): readonly { x: number; y: number }[] {
  if (points.length <= resolution) return points;
  const size = points.length / resolution;
  return Array.from({ length: resolution }, (_, i) => {
    const part = points.slice(Math.floor(i * size), Math.max(Math.floor(i * size) + 1, Math.floor((i + 1) * size)));
    const y = part.reduce((sum, point) => sum + point.y, 0) / part.length;
    return { x: part[part.length - 1].x, y: i === resolution - 1 ? points[points.length - 1].y : y };
  });
}
