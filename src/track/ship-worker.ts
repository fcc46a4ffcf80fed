// Sends a run's journal from a separate thread: see RunShipper.
import { parentPort, workerData } from "node:worker_threads";
import { Segment } from "./segment.ts";
import { Shipper } from "./shipper.ts";

/** Parameters of the thread. */
export interface ShipOrder {
  runId: string;
  /** The segment that is being written. */
  segment: string;
  /** Segments that earlier processes left. */
  earlier: string[];
}

/** Request to send all current records within `patience` milliseconds. */
export interface DrainRequest {
  id: number;
  patience: number;
}

/** Report of the thread: the result of a drain, or a message for the user. */
export type ShipReport = { id: number; sent: boolean; problem: string } | { print: string };

const { runId, segment, earlier } = workerData as ShipOrder;
const send = (report: ShipReport): void => parentPort?.postMessage(report);
const shipper = new Shipper(
  runId,
  new Segment(segment),
  earlier.map((name) => new Segment(name)),
  { beats: true, print: (text) => send({ print: text }) },
);
parentPort?.on("message", ({ id, patience }: DrainRequest) => {
  void shipper.drain(patience).then((sent) => send({ id, sent, problem: shipper.problem }));
});
