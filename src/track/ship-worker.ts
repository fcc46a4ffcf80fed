// Sends a run's journal from a thread of its own: see RunShipper.
import { parentPort, workerData } from "node:worker_threads";
import { Segment } from "./segment.ts";
import { Shipper } from "./shipper.ts";

/** What the thread is begun with. */
export interface ShipOrder {
  runId: string;
  /** The segment that is being written. */
  segment: string;
  /** Segments that earlier processes left. */
  earlier: string[];
}

/** What the thread is asked: to send what there is, within so many milliseconds. */
export interface DrainRequest {
  id: number;
  patience: number;
}

/** What the thread tells: how a drain went, or a text for whoever runs this. */
export type ShipReport = { id: number; sent: boolean; problem: string } | { say: string };

const { runId, segment, earlier } = workerData as ShipOrder;
const tell = (report: ShipReport): void => parentPort?.postMessage(report);
const shipper = new Shipper(
  runId,
  new Segment(segment),
  earlier.map((name) => new Segment(name)),
  { say: (text) => tell({ say: text }) },
);
parentPort?.on("message", ({ id, patience }: DrainRequest) => {
  void shipper.drain(patience).then((sent) => tell({ id, sent, problem: shipper.problem }));
});
