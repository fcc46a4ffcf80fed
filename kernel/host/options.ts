/** Reading the content of execute_request. */
import type { RoutedMessage } from "./wire.ts";

/** The options of an execute_request. */
export interface Options {
  code: string;
  silent: boolean;
  storeHistory: boolean;
  allowStdin: boolean;
  stopOnError: boolean;
  expressions: Record<string, string>;
  cellId: string | undefined;
}

/** Reads the options of a request, with the protocol's defaults. */
export function readOptions(request: RoutedMessage): Options {
  const { content, metadata } = request.message;
  const expressions: Record<string, string> = {};
  if (typeof content.user_expressions === "object" && content.user_expressions !== null) {
    for (const [name, code] of Object.entries(content.user_expressions)) expressions[name] = String(code);
  }
  const silent = content.silent === true;
  return {
    code: typeof content.code === "string" ? content.code : "",
    silent,
    storeHistory: !silent && content.store_history !== false,
    allowStdin: content.allow_stdin !== false,
    stopOnError: content.stop_on_error !== false,
    expressions,
    cellId: typeof metadata.cellId === "string" ? metadata.cellId : undefined,
  };
}
