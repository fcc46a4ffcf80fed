import { once } from "node:events";
import threads from "node:worker_threads";
import { expect, test } from "vitest";
import { patchWorker, threadCount } from "./threads.ts";

test("a thread is no longer tracked after its exit", async () => {
  patchWorker();
  const workers = Array.from({ length: 5 }, () => new threads.Worker("1", { eval: true }));
  expect(threadCount()).toBe(5);
  await Promise.all(workers.map((worker) => once(worker, "exit")));
  await expect.poll(threadCount).toBe(0);
});
