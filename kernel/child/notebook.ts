/** The notebook API for libraries in cells. */
import type { DisplayOptions, ExecutedCell, MimeBundle, Notebook } from "../../src/display/notebook.ts";
import type { ChildSettings } from "../host/protocol.ts";
import { currentCell, currentCellId, nameNotebook, newId } from "./cells.ts";
import { comms } from "./comms.ts";
import { transportable } from "./display.ts";
import { input } from "./input.ts";
import { shared } from "./interrupt.ts";
import { send } from "./pipes.ts";
import { slots } from "./slots.ts";
import { flushStreams } from "./streams.ts";

/** The cells that this process has run, in order. */
export const executed: ExecutedCell[] = [];

/** Displays a MIME bundle as an output of the running cell. */
export function showBundle(data: MimeBundle, options: DisplayOptions = {}): void {
  const json = transportable(data);
  flushStreams();
  send({
    type: "display",
    cell: currentCellId(),
    data: json,
    metadata: options.metadata ?? {},
    displayId: options.displayId,
    update: options.update ?? false,
  });
}

/** Creates the `Notebook` object of `src/display`. */
export function createNotebook(settings: ChildSettings): Notebook {
  nameNotebook(settings.notebookPath);
  return {
    display: showBundle,
    newId,
    clearOutput(wait = false) {
      flushStreams();
      send({ type: "clear", cell: currentCellId(), wait });
    },
    input,
    interruptSignal() {
      const cell = currentCell();
      if (!cell) return new AbortController().signal;
      if (!cell.handlesInterrupt && shared[slots.running] === cell.id) {
        cell.handlesInterrupt = true;
        shared[slots.handlesInterrupt] = 1;
        send({ type: "handlesInterrupt", cell: cell.id });
      }
      return cell.signal;
    },
    onCellEnd(finish) {
      const cell = currentCell();
      cell?.use({ [Symbol.asyncDispose]: async () => finish(cell.failed) }, "async");
    },
    comms,
    path: settings.notebookPath,
    sessionId: settings.sessionId,
    cells: executed,
  };
}
