/** A series of points to draw as a line. */
export interface Series {
  name: string;
  points: readonly { x: number; y: number }[];
}

/** How a line chart is labelled and sized. */
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

/** MIME type under which JupyterLab draws Vega-Lite. */
export const vegaLiteMime = "application/vnd.vegalite.v5+json";

/** Most points drawn of one series: a screen is not wider. */
const resolution = 400;

/** Series of this many points or fewer show each of them. */
const sparse = 20;

/** A line chart as a Vega-Lite specification. Points that are not finite are left out. */
export function lineChart(series: readonly Series[], options: LineChartOptions = {}): Record<string, unknown> {
  const { title, xTitle = "step", yTitle = "", width = 520, height = 240, logY = false } = options;
  const values = series.flatMap(({ name, points }) => {
    const shown = thin(points.filter(({ y }) => Number.isFinite(y)));
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
        // No marks between whole steps.
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
      // A line through few points says too little, and through one nothing at all. A layer of no points makes Vega warn.
      ...(values.some(({ sparse }) => sparse)
        ? [{ transform: [{ filter: "datum.sparse" }], mark: { type: "circle", size: 28, opacity: 1 } }]
        : []),
    ],
    config: { view: { stroke: null }, font: "system-ui, sans-serif" },
  };
}

/** Means of equal stretches, so that a long series keeps its shape. The last point stays as it is. */
function thin(points: readonly { x: number; y: number }[]): readonly { x: number; y: number }[] {
  if (points.length <= resolution) return points;
  const size = points.length / resolution;
  return Array.from({ length: resolution }, (_, i) => {
    const part = points.slice(Math.floor(i * size), Math.max(Math.floor(i * size) + 1, Math.floor((i + 1) * size)));
    const y = part.reduce((sum, point) => sum + point.y, 0) / part.length;
    return { x: part[part.length - 1].x, y: i === resolution - 1 ? points[points.length - 1].y : y };
  });
}
