/** `Deno.jupyter`, for notebooks written for Deno: its display API, and nothing else of Deno. */
import { readFileSync } from "node:fs";
import type { MimeBundle } from "../../src/display/notebook.ts";
import { currentCellId } from "./cells.ts";
import { bundleOf, displaySymbol } from "./display.ts";
import { showBundle } from "./notebook.ts";
import { tell } from "./pipes.ts";
import { flushStreams } from "./streams.ts";

interface DisplayOptions {
  raw?: boolean;
  update?: boolean;
  display_id?: string;
}

interface Shown {
  [displaySymbol](): MimeBundle;
}

/** The MIME bundle that a value is shown as. */
async function format(value: unknown): Promise<MimeBundle> {
  return (await bundleOf(value)) ?? { "text/plain": "undefined" };
}

async function display(value: unknown, { raw, update, display_id }: DisplayOptions = {}): Promise<void> {
  const bundle = raw ? (value as MimeBundle) : await format(value);
  showBundle(bundle, { ...(display_id === undefined ? {} : { displayId: display_id }), update: update ?? false });
}

/** A template tag whose value is shown as data of one type. */
function tag(type: string) {
  return (strings: TemplateStringsArray, ...values: unknown[]): Shown => {
    const text = String.raw({ raw: strings }, ...values.map(String));
    return { [displaySymbol]: () => ({ [type]: text }) };
  };
}

/** A picture that is shown: its bytes, or the path of its file. */
function image(given: string | URL | Uint8Array): Shown {
  const bytes = given instanceof Uint8Array ? given : readFileSync(given);
  const type = imageTypes.find(({ starts }) => starts.every((byte, index) => bytes[index] === byte))?.type;
  if (type === undefined) throw new TypeError("image() shows PNG, JPEG and GIF; these bytes begin like none of them");
  return { [displaySymbol]: () => ({ [type]: Buffer.from(bytes).toString("base64") }) };
}

const imageTypes = [
  { type: "image/png", starts: [0x89, 0x50, 0x4e, 0x47] },
  { type: "image/jpeg", starts: [0xff, 0xd8, 0xff] },
  { type: "image/gif", starts: [0x47, 0x49, 0x46, 0x38] },
];

type Content = Record<string, unknown>;

/** Sends a message of Jupyter's protocol to the front-end, where it is of display or of comms. */
async function broadcast(
  type: string,
  content: Content,
  { metadata = {}, buffers = [] }: { metadata?: Content; buffers?: Uint8Array[] } = {},
): Promise<void> {
  const object = (name: string) => (content[name] ?? {}) as Content;
  flushStreams();
  switch (type) {
    case "display_data":
    case "update_display_data": {
      const id = object("transient").display_id;
      const displayId = id === undefined ? {} : { displayId: String(id) };
      showBundle(object("data"), { metadata: object("metadata"), update: type !== "display_data", ...displayId });
      return;
    }
    case "clear_output":
      tell({ type: "clear", cell: currentCellId(), wait: content.wait === true });
      return;
    case "comm_open":
    case "comm_msg":
    case "comm_close": {
      const kind = type.slice("comm_".length) as "open" | "msg" | "close";
      const id = String(content.comm_id);
      const target = String(content.target_name ?? "");
      tell({ type: "comm", cell: currentCellId(), kind, id, target, data: object("data"), metadata, buffers });
      return;
    }
    default:
      throw new TypeError(
        `broadcast() cannot send "${type}": it sends display_data, update_display_data, clear_output and comm_*`,
      );
  }
}

export const deno = Object.freeze({
  jupyter: Object.freeze({
    $display: displaySymbol,
    display,
    format,
    html: tag("text/html"),
    md: tag("text/markdown"),
    svg: tag("image/svg+xml"),
    image,
    broadcast,
  }),
});
