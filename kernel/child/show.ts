/** The global `display` and its helpers, such as `display.html`. */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { DisplayOptions, MimeBundle } from "../../src/display/notebook.ts";
import { currentCell } from "./cells.ts";
import { bundleOf } from "./display.ts";
import { showBundle } from "./notebook.ts";

/** Options of the global `display`. */
export interface GlobalDisplayOptions extends DisplayOptions {
  /** The value is a MIME bundle. */
  raw?: boolean;
  /** Do not truncate the value. */
  full?: boolean;
}

/** Displays a value as an output of the cell, formatted like a cell's result. */
function displayValue(value: unknown, options: GlobalDisplayOptions = {}): void {
  if (options.raw) {
    showBundle(value as MimeBundle, options);
    return;
  }
  const bundle = bundleOf(value, options.full);
  if (!(bundle instanceof Promise)) {
    showBundle(bundle ?? { "text/plain": "undefined" }, options);
    return;
  }
  const displayed = bundle.then((resolved) => showBundle(resolved, options));
  const cell = currentCell();
  if (!cell) return;
  cell.pending.add(displayed);
  // The cell awaits its pending displays and reports their errors.
  displayed.then(
    () => cell.pending.delete(displayed),
    () => {},
  );
}

/** Binary data, or the path or URL of a file. */
type Bytes = Uint8Array | ArrayBuffer | string | URL;

/** Display functions, one for each MIME type. The names are those of tslab. */
export interface DisplayFunctions {
  html(text: string): void;
  markdown(text: string): void;
  latex(text: string): void;
  svg(text: string): void;
  png(bytes: Bytes): void;
  jpeg(bytes: Bytes): void;
  gif(bytes: Bytes): void;
  pdf(bytes: Bytes): void;
  text(text: string): void;
  javascript(text: string): void;
  json(value: unknown): void;
  vegaLite(specification: object): void;
  raw(mimeType: string, data: string | Uint8Array): void;
}

/** Creates display functions that pass their bundle to `show`. */
export function displayFunctions(show: (bundle: MimeBundle) => void): DisplayFunctions {
  const text = (type: string) => (data: string) => show({ [type]: data, "text/plain": data });
  const binary = (type: string) => (bytes: Bytes) => show({ [type]: bytesOf(bytes) });
  return {
    html: text("text/html"),
    markdown: text("text/markdown"),
    // Adds `$$` unless the text already contains math delimiters.
    latex: (data) =>
      show({ "text/latex": /\$|\\\(|\\\[|\\begin/.test(data) ? data : `$$${data}$$`, "text/plain": data }),
    // A placeholder for front-ends that do not render SVG, such as untrusted notebooks.
    svg: (data) => show({ "image/svg+xml": data, "text/plain": `SVG image, ${data.length} characters` }),
    png: binary("image/png"),
    jpeg: binary("image/jpeg"),
    gif: binary("image/gif"),
    pdf: binary("application/pdf"),
    text: (data) => show({ "text/plain": data }),
    javascript: text("text/javascript"),
    json: (value) => show({ "application/json": value, "text/plain": JSON.stringify(value, null, 2) }),
    vegaLite: (specification) => show({ "application/vnd.vegalite.v5+json": specification }),
    raw: (type, data) => show({ [type]: data }),
  };
}

function bytesOf(source: Bytes): Uint8Array {
  if (typeof source === "string") return readFileSync(source.startsWith("file:") ? fileURLToPath(source) : source);
  if (source instanceof URL) return readFileSync(source);
  return source instanceof ArrayBuffer ? new Uint8Array(source) : source;
}

export const display = Object.assign(
  displayValue,
  displayFunctions((bundle) => showBundle(bundle)),
);

/** Creates display functions that share one output: each call replaces the content of the previous one. */
export function newDisplay(): DisplayFunctions {
  const displayId = randomUUID();
  let update = false;
  return displayFunctions((bundle) => {
    showBundle(bundle, { displayId, update });
    update = true;
  });
}
