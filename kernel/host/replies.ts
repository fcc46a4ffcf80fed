/** Replies to execute_request. */
import { plainText } from "../language/complete.ts";
import { installSuggestion } from "../language/packages.ts";
import type { Lane } from "./lane.ts";
import type { Options } from "./options.ts";
import type { Outputs } from "./outputs.ts";
import type { ExpressionResult, ShownError } from "./protocol.ts";
import type { RoutedMessage } from "./wire.ts";

/** Sends the reply to a request. */
export type Reply = (request: RoutedMessage, content: Record<string, unknown>) => void;

export class Replies {
  readonly #reply: Reply;
  readonly #outputs: Outputs;
  readonly #executionCount: () => number;

  /** @param executionCount returns the current execution count */
  constructor(reply: Reply, outputs: Outputs, executionCount: () => number) {
    this.#reply = reply;
    this.#outputs = outputs;
    this.#executionCount = executionCount;
  }

  ok(request: RoutedMessage, expressions: Record<string, ExpressionResult> = {}, payload: object[] = []): void {
    const count = this.#executionCount();
    this.#reply(request, { status: "ok", execution_count: count, user_expressions: expressions, payload });
  }

  /** Shows Markdown in the front-end's pager. */
  page(request: RoutedMessage, markdown: string): void {
    const data = { "text/plain": plainText(markdown), "text/markdown": markdown };
    this.ok(request, {}, [{ source: "page", data, start: 0 }]);
  }

  /** Replies to `exit` as IPython does: a console exits, a notebook ignores it. */
  exit(request: RoutedMessage): void {
    this.ok(request, {}, [{ source: "ask_exit", keepkernel: false }]);
  }

  /** Publishes an error and replies with it. Aborts the queued requests of the lane if `stop_on_error` is set. */
  error(lane: Lane, request: RoutedMessage, options: Options, { missing, ...error }: ShownError): void {
    if (!options.silent) {
      this.#outputs.error(error, request.message.header);
      if (missing) this.#outputs.suggest(installSuggestion(missing), request.message.header);
    }
    // Abort before the reply: requests that arrive after it were sent by a client that knows of the error.
    if (options.stopOnError || lane.interrupted) this.abortQueued(lane);
    const count = this.#executionCount();
    this.#reply(request, { status: "error", execution_count: count, ...error, user_expressions: {}, payload: [] });
  }

  /** Replies "aborted" to all queued requests of a lane. */
  abortQueued(lane: Lane): void {
    for (const request of lane.queue.splice(0)) {
      const { header } = request.message;
      this.#outputs.publish("status", { execution_state: "busy" }, header);
      // No execution_count: a front-end would show it on a cell that did not run.
      this.#reply(request, { status: "aborted" });
      this.#outputs.publish("status", { execution_state: "idle" }, header);
    }
  }
}
