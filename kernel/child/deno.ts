/** `Deno.jupyter`, the display API of Deno's kernel. Nothing else of Deno is provided. */
import { readFileSync } from "node:fs";
import type { MimeBundle } from "../../src/display/notebook.ts";
import { currentCellId } from "./cells.ts";
import { bundleOf, displaySymbol } from "./display.ts";
import { showBundle } from "./notebook.ts";
import { send } from "./pipes.ts";
import { flushStreams } from "./streams.ts";

interface DisplayOptions {
  raw?: boolean;
  update?: boolean;
  display_id?: string;
}

interface Displayable {
  [displaySymbol](): MimeBundle;
}

/** The MIME bundle of a value. */
async function format(value: unknown): Promise<MimeBundle> {
  return (await bundleOf(value)) ?? { "text/plain": "undefined" };
}

async function display(value: unknown, { raw, update, display_id }: DisplayOptions = {}): Promise<void> {
  const bundle = raw ? (value as MimeBundle) : await format(value);
  showBundle(bundle, { ...(display_id === undefined ? {} : { displayId: display_id }), update: update ?? false });
}

/** Creates a template tag whose value displays as the given MIME type. */
function tag(type: string) {
  return (strings: TemplateStringsArray, ...values: unknown[]): Displayable => {
    const text = String.raw({ raw: strings }, ...values.map(String));
    return { [displaySymbol]: () => ({ [type]: text }) };
  };
}

/** Displays an image, given as bytes or as a path. */
function image(source: string | URL | Uint8Array): Displayable {
  const bytes = source instanceof Uint8Array ? source : readFileSync(source);
  const type = imageTypes.find(({ magic }) => magic.every((byte, index) => bytes[index] === byte))?.type;
  if (type === undefined) throw new TypeError("image() supports PNG, JPEG and GIF, but the data is none of these");
  return { [displaySymbol]: () => ({ [type]: Buffer.from(bytes).toString("base64") }) };
}

const imageTypes = [
  { type: "image/png", magic: [0x89, 0x50, 0x4e, 0x47] },
  { type: "image/jpeg", magic: [0xff, 0xd8, 0xff] },
  { type: "image/gif", magic: [0x47, 0x49, 0x46, 0x38] },
];

type Content = Record<string, unknown>;

/** Sends a display or comm message to the front-end. */
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
      send({ type: "clear", cell: currentCellId(), wait: content.wait === true });
      return;
    case "comm_open":
    case "comm_msg":
    case "comm_close": {
      const kind = type.slice("comm_".length) as "open" | "msg" | "close";
      const id = String(content.comm_id);
      const target = String(content.target_name ?? "");
      send({ type: "comm", cell: currentCellId(), kind, id, target, data: object("data"), metadata, buffers });
      return;
    }
    default:
      throw new TypeError(
        `broadcast() cannot send "${type}"; it supports display_data, update_display_data, clear_output and comm_*`,
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
