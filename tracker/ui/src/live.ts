import { type QueryClient, type QueryKey, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

interface Message {
  type?: string;
  change?: string;
  run_id?: string;
  keys?: string[];
  name?: string;
}

/** Minimum interval between refetches of run tables while metrics stream in. */
const TABLE_MS = 3000;
const PAGE_MS = 600;

/** The queries that an event invalidates, and the delay before they are refetched. */
function staleBy(event: string, message: Message): { key: QueryKey; after: number }[] {
  if (event === "experiment") return ["experiments", "traces", "trace"].map((key) => ({ key: [key], after: PAGE_MS }));
  if (event === "model") {
    return ["models", "model", "runs"].map((key) => ({ key: [key], after: PAGE_MS }));
  }
  const run = { key: ["run", message.run_id], after: PAGE_MS };
  if (event === "run") {
    const table = { key: ["runs"], after: PAGE_MS };
    if (message.change === "updated") return [run, table, { key: ["artifacts", message.run_id], after: PAGE_MS }];
    return [run, table, { key: ["experiments"], after: PAGE_MS }, { key: ["keys"], after: TABLE_MS }];
  }
  return [
    run,
    { key: ["runs"], after: TABLE_MS },
    { key: ["keys"], after: TABLE_MS },
    ...(message.keys ?? []).map((key) => ({ key: ["history", key], after: PAGE_MS })),
  ];
}

/** Batches invalidations: each query is refetched at most once per interval. */
function refresher(client: QueryClient): { add(key: QueryKey, after: number): void; stop(): void } {
  const timers = new Map<string, ReturnType<typeof setTimeout>>();
  return {
    add(key, after) {
      const id = JSON.stringify(key);
      if (timers.has(id)) return;
      timers.set(
        id,
        setTimeout(() => {
          timers.delete(id);
          void client.invalidateQueries({ queryKey: key });
        }, after),
      );
    },
    stop() {
      for (const timer of timers.values()) clearTimeout(timer);
    },
  };
}

/** Invalidates queries on tracker events. @returns whether the event stream is connected */
export function useLive(): boolean {
  const client = useQueryClient();
  const [live, setLive] = useState(false);
  useEffect(() => {
    const refresh = refresher(client);
    let source: EventSource | undefined;
    let opened = false;
    const listen = (): void => {
      const events = new EventSource("/api/anneal/events");
      source = events;
      events.addEventListener("open", () => {
        setLive(true);
        // Events are lost while disconnected, so everything is refetched.
        if (opened) void client.invalidateQueries();
        opened = true;
      });
      events.addEventListener("error", () => setLive(false));
      events.addEventListener("reset", () => void client.invalidateQueries());
      for (const event of ["experiment", "run", "metrics", "model"]) {
        events.addEventListener(event, ({ data }: MessageEvent<string>) => {
          for (const { key, after } of staleBy(event, JSON.parse(data) as Message)) refresh.add(key, after);
        });
      }
    };
    // Browsers allow six connections per server, so hidden pages must release theirs.
    const follow = (): void => {
      if (document.visibilityState === "visible") {
        if (!source) listen();
      } else {
        source?.close();
        source = undefined;
      }
    };
    follow();
    document.addEventListener("visibilitychange", follow);
    return () => {
      document.removeEventListener("visibilitychange", follow);
      source?.close();
      refresh.stop();
    };
  }, [client]);
  return live;
}
