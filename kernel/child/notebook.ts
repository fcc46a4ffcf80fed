/** What libraries in cells see of the notebook. */
import type { DisplayOptions, ExecutedCell, MimeBundle, Notebook } from "../../src/display/notebook.ts";
import type { ChildSettings } from "../host/protocol.ts";
import { currentCell, currentCellId, nameNotebook, newId } from "./cells.ts";
import { comms } from "./comms.ts";
import { transportable } from "./display.ts";
import { input } from "./input.ts";
import { shared } from "./interrupt.ts";
import { tell } from "./pipes.ts";
import { slots } from "./slots.ts";
import { flushStreams } from "./streams.ts";

/** Cells run so far in this process, in order. */
export const executed: ExecutedCell[] = [];

/** Shows a bundle under the running cell. */
export function showBundle(data: MimeBundle, options: DisplayOptions = {}): void {
  const ready = transportable(data);
  flushStreams();
  tell({
    type: "display",
    cell: currentCellId(),
    data: ready,
    metadata: options.metadata ?? {},
    displayId: options.displayId,
    update: options.update ?? false,
  });
}

/** The notebook as `src/display` knows it. */
export function makeNotebook(settings: ChildSettings): Notebook {
  nameNotebook(settings.notebookPath);
  return {
    display: showBundle,
    newId,
    clearOutput(wait = false) {
      flushStreams();
      tell({ type: "clear", cell: currentCellId(), wait });
    },
    input,
    interruptSignal() {
      const cell = currentCell();
      if (!cell) return new AbortController().signal;
      if (!cell.asked && shared[slots.running] === cell.id) {
        cell.asked = true;
        shared[slots.asked] = 1;
        tell({ type: "asked", cell: cell.id });
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
