import { keepPreviousData, useQueries, useQuery } from "@tanstack/react-query";
import { api, type RunRow, type TableRequest } from "../api.ts";

const PAGE = 100;

export type RowsRequest = Omit<TableRequest, "offset" | "limit">;

export interface Rows {
  total: number | undefined;
  error: Error | null;
  /** Whether rows are shown that belong to an earlier request. */
  stale: boolean;
  /** The run at an index; undefined while its page is loading. */
  at(index: number): RunRow | undefined;
}

/** Rows of a run table of any length: only visible pages are fetched. */
export function useRows(request: RowsRequest, first: number, last: number): Rows {
  const page = (number: number) => ({
    queryKey: ["runs", request, number],
    queryFn: () => api.table({ ...request, offset: number * PAGE, limit: PAGE }),
  });
  const from = Math.floor(Math.max(0, first) / PAGE);
  const to = Math.max(from, Math.floor(Math.max(0, last) / PAGE));
  // The first page is always there: it gives the total, and is what one scrolls back to.
  const head = useQuery({ ...page(0), placeholderData: keepPreviousData });
  const numbers = Array.from({ length: to - from + 1 }, (_, index) => from + index).filter((number) => number > 0);
  const others = useQueries({
    queries: numbers.map((number) => ({ ...page(number), placeholderData: keepPreviousData })),
  });
  return {
    total: head.data?.total,
    error: head.error ?? others.find((result) => result.error)?.error ?? null,
    stale: head.isPlaceholderData,
    at(index) {
      const number = Math.floor(index / PAGE);
      const result = number === 0 ? head : others[numbers.indexOf(number)];
      return result?.data?.rows[index - number * PAGE];
    },
  };
}
