import { isFloating, type Shape, showShape, Tensor, type TensorData } from "../tensor/index.ts";
import { describeDevice } from "./device.ts";
import { defaultEngine } from "./engine.ts";

/** Maximum rows and columns to show. */
const [rowsShown, columnsShown] = [6, 8];
/** Number of histogram bars. */
const bars = 32;

/** Summary of a tensor's values. */
interface Summary {
  /** `float32 [2, 3] · 24 B · cpu (...)` */
  title: string;
  /** `min -1 · mean 0.2 · max 3` */
  figures: string;
  /** Numbers of the first matrix, as text; undefined stands for an ellipsis. */
  corner: readonly (readonly (string | undefined)[])[];
  /** Position of the shown matrix, for tensors with more than two axes. */
  place: string;
  /** Number of finite values in equal intervals from the minimum to the maximum. */
  histogram: readonly number[];
}

// Displaying a tensor in a notebook computes its values; the kernel awaits them.
Object.defineProperty(Tensor.prototype, Symbol.for("Jupyter.display"), {
  async value(this: Tensor) {
    const data = await this.data();
    const { device } = await defaultEngine();
    const summary = summarize(this, data, describeDevice(device).split(":")[0]);
    return { "text/html": toHtml(summary), "text/plain": toText(summary) };
  },
});

function summarize({ shape, dtype, size }: Tensor, data: TensorData, device: string): Summary {
  const finite = Array.from(data).filter(Number.isFinite);
  const low = finite.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const high = finite.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const mean = finite.reduce((a, b) => a + b, 0) / finite.length;
  const notFinite = data.length - finite.length;
  const spread = isFloating(dtype) && size > 1 && high > low;
  const histogram = Array<number>(spread ? bars : 0).fill(0);
  if (spread) for (const x of finite) histogram[Math.min(bars - 1, Math.floor(((x - low) / (high - low)) * bars))]++;
  const range =
    dtype === "bool"
      ? `${finite.reduce((a, b) => a + b, 0)} of ${size} true`
      : finite.length === 0
        ? ""
        : `min ${number(low)} · mean ${number(mean)} · max ${number(high)}`;
  const figures = [size > 1 ? range : "", notFinite > 0 ? `${notFinite} not finite` : ""].filter(Boolean).join(" · ");
  return {
    title: `${dtype} ${showShape(shape)} · ${bytes(data.byteLength)} · ${device}`,
    figures,
    corner: cornerOf(shape, data, dtype === "bool" ? (x) => (x ? "true" : "false") : number),
    place: shape.length > 2 ? `[${[...shape.slice(0, -2).map(() => "0"), ":", ":"].join(", ")}]` : "",
    histogram,
  };
}

function cornerOf(shape: Shape, data: TensorData, show: (x: number) => string): Summary["corner"] {
  const [rows, columns] = shape.length < 2 ? [1, shape[0] ?? 1] : shape.slice(-2);
  const [height, width] = [Math.min(rows, rowsShown), Math.min(columns, columnsShown)];
  const lines = Array.from({ length: height }, (_, i) => {
    const line: (string | undefined)[] = Array.from(data.subarray(i * columns, i * columns + width), show);
    return columns > width ? [...line, undefined] : line;
  });
  return rows > height ? [...lines, Array<undefined>(lines[0].length).fill(undefined)] : lines;
}

/** Formats a number in few characters. */
export function number(x: number): string {
  if (Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
  if (!Number.isFinite(x)) return String(x);
  const size = Math.abs(x);
  return size >= 1e-3 && size < 1e5 ? String(Number(x.toPrecision(4))) : x.toExponential(2);
}

function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  return n < 1024 ** 2 ? `${(n / 1024).toPrecision(3)} KiB` : `${(n / 1024 ** 2).toPrecision(3)} MiB`;
}

function toText({ title, figures, corner, place }: Summary): string {
  const cells = corner.map((line) => line.map((text) => text ?? "…"));
  const width = Math.max(0, ...cells.flat().map((text) => text.length));
  const lines = cells.map((line) => line.map((text) => text.padStart(width)).join("  "));
  return [title, ...(figures ? [figures] : []), ...(place ? [`${place}:`] : []), ...lines].join("\n");
}

function toHtml({ title, figures, corner, place, histogram }: Summary): string {
  const line = (cells: Summary["corner"][number]) => {
    return `<tr>${cells.map((text) => `<td style="text-align:right">${text ?? "…"}</td>`).join("")}</tr>`;
  };
  const highest = Math.max(1, ...histogram);
  // Borders in the text colour, because JupyterLab strips most other styles in a notebook that is not trusted.
  const column = (count: number) => {
    const height = count === 0 ? 0 : Math.max(1, Math.round((38 * count) / highest));
    const border = `border-bottom-style:solid;border-bottom-width:${height}px`;
    return `<span title="${count}" style="display:inline-block;width:4px;margin-right:1px;vertical-align:bottom;${border}"></span>`;
  };
  const chart =
    histogram.length > 0
      ? `<div title="histogram of the values" style="opacity:.6;line-height:0">${histogram.map(column).join("")}</div>`
      : "";
  const summary = `<div style="margin-right:24px"><code>${title}</code>${figures ? `<div style="opacity:.75">${figures}</div>` : ""}</div>`;
  return (
    `<div style="display:flex;align-items:center;margin-bottom:4px">${summary}${chart}</div>` +
    (place ? `<div style="opacity:.75"><code>${place}</code></div>` : "") +
    `<table style="margin:0;font-variant-numeric:tabular-nums"><tbody>${corner.map(line).join("")}</tbody></table>`
  );
}
