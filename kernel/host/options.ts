/** Reading execute_requests. */
import type { RoutedMessage } from "./wire.ts";

/** What an execute_request asks for. */
export interface Options {
  code: string;
  silent: boolean;
  storeHistory: boolean;
  allowStdin: boolean;
  stopOnError: boolean;
  expressions: Record<string, string>;
  cellId: string | undefined;
}

/** What a request asks for, with the protocol's defaults for what it leaves out. */
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
