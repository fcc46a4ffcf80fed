/** Replies to execute_requests. */
import { plainText } from "../language/complete.ts";
import { installOffer } from "../language/packages.ts";
import type { Lane } from "./lane.ts";
import type { Options } from "./options.ts";
import type { Outputs } from "./outputs.ts";
import type { ExpressionResult, ShownError } from "./protocol.ts";
import type { RoutedMessage } from "./wire.ts";

/** Answers a request. */
export type Reply = (request: RoutedMessage, content: Record<string, unknown>) => void;

export class Replies {
  readonly #reply: Reply;
  readonly #outputs: Outputs;
  readonly #executionCount: () => number;

  /** @param executionCount the number of the last counted cell */
  constructor(reply: Reply, outputs: Outputs, executionCount: () => number) {
    this.#reply = reply;
    this.#outputs = outputs;
    this.#executionCount = executionCount;
  }

  ok(request: RoutedMessage, expressions: Record<string, ExpressionResult> = {}, payload: object[] = []): void {
    const count = this.#executionCount();
    this.#reply(request, { status: "ok", execution_count: count, user_expressions: expressions, payload });
  }

  /** Text for the front-end's pager. */
  page(request: RoutedMessage, text: string): void {
    const data = { "text/plain": plainText(text), "text/markdown": text };
    this.ok(request, {}, [{ source: "page", data, start: 0 }]);
  }

  /** The user wants to leave. As IPython has it: a console ends, a notebook goes on. */
  exit(request: RoutedMessage): void {
    this.ok(request, {}, [{ source: "ask_exit", keepkernel: false }]);
  }

  /** Shows an error under the cell, and answers with it; requests after it in the lane are aborted, if it was to stop. */
  error(lane: Lane, request: RoutedMessage, options: Options, { missing, ...error }: ShownError): void {
    if (!options.silent) {
      this.#outputs.error(error, request.message.header);
      if (missing) this.#outputs.offer(installOffer(missing), request.message.header);
    }
    // Aborting before the reply: what comes after it was sent in knowledge of the error.
    if (options.stopOnError || lane.interrupted) this.abortQueued(lane);
    const count = this.#executionCount();
    this.#reply(request, { status: "error", execution_count: count, ...error, user_expressions: {}, payload: [] });
  }

  /** Answers all requests that wait in a lane: they do not run. */
  abortQueued(lane: Lane): void {
    for (const request of lane.queue.splice(0)) {
      const { header } = request.message;
      this.#outputs.publish("status", { execution_state: "busy" }, header);
      // No execution_count: a front-end would number a cell that did not run.
      this.#reply(request, { status: "aborted" });
      this.#outputs.publish("status", { execution_state: "idle" }, header);
    }
  }
}
