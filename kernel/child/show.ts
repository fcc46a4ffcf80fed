/** The global `display`, and its helpers for each kind of data. */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { DisplayOptions, MimeBundle } from "../../src/display/notebook.ts";
import { currentCell } from "./cells.ts";
import { bundleOf } from "./display.ts";
import { showBundle } from "./notebook.ts";

/** Options of the global `display`. */
export interface GlobalDisplayOptions extends DisplayOptions {
  /** The value is a MIME bundle already. */
  raw?: boolean;
  /** Show all of a value that is cut otherwise. */
  full?: boolean;
}

/** The global `display`: shows any value under the cell, as a cell's result is shown. */
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
  const making = bundle.then((made) => showBundle(made, options));
  const cell = currentCell();
  if (!cell) return;
  cell.pending.add(making);
  // The cell waits for what is pending, and tells its errors.
  making.then(
    () => cell.pending.delete(making),
    () => {},
  );
}

/** A picture or document: its bytes, or the file that holds them. */
type Bytes = Uint8Array | ArrayBuffer | string | URL;

/** Functions that show data of one kind. The names are tslab's. */
export interface Shows {
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

/** Helpers that hand what they show to `show`. */
export function showsWith(show: (bundle: MimeBundle) => void): Shows {
  const text = (type: string) => (data: string) => show({ [type]: data, "text/plain": data });
  const binary = (type: string) => (bytes: Bytes) => show({ [type]: bytesOf(bytes) });
  return {
    html: text("text/html"),
    markdown: text("text/markdown"),
    // Mathematics between dollars or brackets is left as it is; alone it is set as a formula.
    latex: (data) =>
      show({ "text/latex": /\$|\\\(|\\\[|\\begin/.test(data) ? data : `$$${data}$$`, "text/plain": data }),
    // A front-end that shows no SVG (a notebook that is not trusted yet) is better off without its source.
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

function bytesOf(given: Bytes): Uint8Array {
  if (typeof given === "string") return readFileSync(given.startsWith("file:") ? fileURLToPath(given) : given);
  if (given instanceof URL) return readFileSync(given);
  return given instanceof ArrayBuffer ? new Uint8Array(given) : given;
}

export const display = Object.assign(
  displayValue,
  showsWith((bundle) => showBundle(bundle)),
);

/** Helpers that all show at one place: each replaces what the one before showed. */
export function newDisplay(): Shows {
  const displayId = randomUUID();
  let update = false;
  return showsWith((bundle) => {
    showBundle(bundle, { displayId, update });
    update = true;
  });
}
