/** Message handlers: one per message type, with a table for each channel. */
import { completeness, plainText } from "../language/complete.ts";
import { languageInfo } from "../spec.ts";
import type { Kernel } from "./kernel.ts";
import { noSubshell } from "./lane.ts";
import { usageOf } from "./usage.ts";
import { protocolVersion, type RoutedMessage } from "./wire.ts";

/** Handles a request and returns the content of the reply; undefined if the reply comes later or there is none. */
export type Handler = (
  kernel: Kernel,
  request: RoutedMessage,
) => Promise<Record<string, unknown> | undefined> | Record<string, unknown> | undefined;

/** The content of kernel_info_reply. */
function kernelInfo(kernel: Kernel): Record<string, unknown> {
  return {
    status: "ok",
    protocol_version: protocolVersion,
    implementation: "anneal",
    implementation_version: kernel.version,
    language_info: languageInfo(),
    banner: `Anneal ${kernel.version}: TypeScript ${kernel.typescriptVersion} on Node.js ${process.versions.node}`,
    debugger: true,
    help_links: [
      { text: "TypeScript", url: "https://www.typescriptlang.org/docs/" },
      { text: "Node.js", url: "https://nodejs.org/docs/latest-v20.x/api/" },
    ],
    supported_features: ["debugger", "kernel subshells"],
  };
}

const complete: Handler = async (kernel, request) => {
  const { code, offset } = cursor(request);
  const { items, start, end } = await kernel.complete(code, offset);
  const range = { start: codePoints(code, start), end: codePoints(code, end) };
  return {
    status: "ok",
    matches: items.map(({ text }) => text),
    cursor_start: range.start,
    cursor_end: range.end,
    metadata: { _jupyter_types_experimental: items.map(({ text, type }) => ({ ...range, text, type })) },
  };
};

const inspect: Handler = async (kernel, request) => {
  const { code, offset } = cursor(request);
  const markdown = await kernel.inspect(code, offset, request.message.content.detail_level === 1);
  const data = markdown === undefined ? {} : { "text/markdown": markdown, "text/plain": plainText(markdown) };
  return { status: "ok", found: markdown !== undefined, data, metadata: {} };
};

const history: Handler = async (kernel, request) => {
  const { content } = request.message;
  const number = (name: string) => (typeof content[name] === "number" ? content[name] : undefined);
  const entries = await (async () => {
    switch (content.hist_access_type) {
      case "range":
        return kernel.history.range(number("session") ?? 0, number("start") ?? 0, number("stop"));
      case "search":
        return kernel.history.search(String(content.pattern ?? "*"), number("n"), content.unique === true);
      default:
        return kernel.history.tail(number("n") ?? 10);
    }
  })();
  const withOutput = content.output === true;
  return {
    status: "ok",
    history: entries.map(([session, line, source, output]) => [session, line, withOutput ? [source, output] : source]),
  };
};

const shutdown: Handler = (kernel, request) => {
  const restart = request.message.content.restart === true;
  kernel.shutdown(request, restart);
  return undefined;
};

const usage: Handler = (kernel) => ({ ...usageOf([process.pid, kernel.executor.childPid, kernel.checkerPid]) });

const comm =
  (kind: "open" | "msg" | "close"): Handler =>
  async (kernel, request) => {
    await kernel.executor.comms.forward(kind, request.message);
    return undefined;
  };

/** Handlers of the shell channel. */
export const shellHandlers: Readonly<Record<string, Handler>> = {
  kernel_info_request: kernelInfo,
  execute_request(kernel, request) {
    kernel.executor.submit(request);
    return undefined;
  },
  complete_request: complete,
  inspect_request: inspect,
  is_complete_request(_kernel, request) {
    return { ...completeness(String(request.message.content.code ?? "")) };
  },
  history_request: history,
  comm_info_request: (kernel, request) => ({
    status: "ok",
    comms: kernel.executor.comms.list(request.message.content.target_name),
  }),
  comm_open: comm("open"),
  comm_msg: comm("msg"),
  comm_close: comm("close"),
  shutdown_request: shutdown,
};

/** Handlers of the control channel. */
export const controlHandlers: Readonly<Record<string, Handler>> = {
  kernel_info_request: kernelInfo,
  async interrupt_request(kernel, { message }) {
    // A cell that was sent earlier may still wait in the shell socket.
    await new Promise((resolve) => setImmediate(resolve));
    kernel.executor.interrupt(message.header);
    return { status: "ok" };
  },
  usage_request: usage,
  create_subshell_request: (kernel) => ({ status: "ok", subshell_id: kernel.executor.lanes.open() }),
  delete_subshell_request(kernel, request) {
    const id = request.message.content.subshell_id;
    if (!kernel.executor.lanes.close(String(id))) throw noSubshell(id);
    return { status: "ok" };
  },
  list_subshell_request: (kernel) => ({ status: "ok", subshell_id: kernel.executor.lanes.ids }),
  debug_request: (kernel, request) => kernel.executor.debugger.handle(request.message.content),
  shutdown_request: shutdown,
};

/** Handlers of the stdin channel. */
export const stdinHandlers: Readonly<Record<string, Handler>> = {
  input_reply(kernel, request) {
    kernel.executor.answerInput(String(request.message.content.value ?? ""));
    return undefined;
  },
};

/** Code and cursor of a request. The protocol counts code points; JavaScript counts UTF-16 units. */
function cursor(request: RoutedMessage): { code: string; offset: number } {
  const { content } = request.message;
  const code = typeof content.code === "string" ? content.code : "";
  const points = typeof content.cursor_pos === "number" ? content.cursor_pos : Number.POSITIVE_INFINITY;
  let offset = 0;
  let count = 0;
  for (const character of code) {
    if (count >= points) break;
    offset += character.length;
    count++;
  }
  return { code, offset };
}

function codePoints(code: string, offset: number): number {
  return [...code.slice(0, offset)].length;
}
