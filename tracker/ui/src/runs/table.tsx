import { Checkbox, Skeleton, UnstyledButton } from "@mantine/core";
import { type ColumnDef, getCoreRowModel, useReactTable } from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import type { RunRow } from "../api.ts";
import { Failure } from "../parts/bits.tsx";
import type { Column } from "./columns.tsx";
import { type RowsRequest, useRows } from "./rows.ts";
import classes from "./table.module.css";

const ROW_HEIGHT = 33;

export interface Order {
  field: string;
  ascending: boolean;
}

export interface RunsTableProps {
  request: RowsRequest;
  columns: Column[];
  order: Order;
  onOrder(order: Order): void;
  selected: ReadonlySet<string>;
  onSelect(ids: string[], on: boolean): void;
  /** Shown in place of rows when there are none. */
  empty: ReactNode;
  /** Called with the total number of runs. */
  summary(total: number | undefined): ReactNode;
}

/** The table of runs: rows are drawn as they come into view, so that its length does not matter. */
export function RunsTable({ request, columns, order, onOrder, selected, onSelect, empty, summary }: RunsTableProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState({ first: 0, last: 40 });
  const rows = useRows(request, range.first, range.last);
  const virtual = useVirtualizer({
    count: rows.total ?? 0,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: 15,
  });
  const items = virtual.getVirtualItems();
  const first = items[0]?.index ?? 0;
  const last = items.at(-1)?.index ?? 40;
  useEffect(() => setRange({ first, last }), [first, last]);

  const definitions = useMemo(
    () =>
      columns.map(
        (column): ColumnDef<RunRow> => ({ id: column.id, header: column.title, size: column.width, minSize: 60 }),
      ),
    [columns],
  );
  const visible = items.map(({ index }) => rows.at(index)).filter((row) => row !== undefined);
  const table = useReactTable({
    data: visible,
    columns: definitions,
    getCoreRowModel: getCoreRowModel(),
    getRowId: (row) => row.run_id,
    columnResizeMode: "onChange",
    manualSorting: true,
  });
  const headers = table.getHeaderGroups()[0]?.headers ?? [];
  const template = `36px ${headers.map((header) => `${header.getSize()}px`).join(" ")} 1fr`;
  const width = 36 + table.getTotalSize();
  const byId = new Map(columns.map((column) => [column.id, column]));
  const chosen = visible.filter((row) => selected.has(row.run_id)).length;

  if (rows.error) {
    return (
      <div className={classes.failure}>
        <Failure error={rows.error} />
      </div>
    );
  }
  return (
    <>
      {summary(rows.total)}
      {rows.total === 0 ? (
        empty
      ) : (
        <div ref={scroller} className={classes.scroller} data-stale={rows.stale || undefined}>
          {/* biome-ignore lint/a11y/useSemanticElements: a table element cannot hold rows that are placed one by one */}
          <div
            role="table"
            aria-label="Runs"
            aria-rowcount={rows.total ?? -1}
            className={classes.table}
            style={{ minWidth: width }}
          >
            {/* biome-ignore lint/a11y/useSemanticElements: see above */}
            <div role="row" className={classes.head} style={{ gridTemplateColumns: template }} tabIndex={-1}>
              {/* biome-ignore lint/a11y/useSemanticElements: see above */}
              <div role="columnheader" className={classes.check} tabIndex={-1}>
                <Checkbox
                  aria-label="Select the runs in view"
                  checked={visible.length > 0 && chosen === visible.length}
                  indeterminate={chosen > 0 && chosen < visible.length}
                  onChange={(event) =>
                    onSelect(
                      visible.map((row) => row.run_id),
                      event.currentTarget.checked,
                    )
                  }
                />
              </div>
              {headers.map((header) => {
                const column = byId.get(header.column.id);
                if (!column) return null;
                const sorted = column.order !== undefined && column.order === order.field;
                return (
                  // biome-ignore lint/a11y/useSemanticElements: see above
                  <div
                    role="columnheader"
                    key={column.id}
                    className={classes.headCell}
                    data-numeric={column.numeric || undefined}
                    aria-sort={sorted ? (order.ascending ? "ascending" : "descending") : "none"}
                    tabIndex={-1}
                  >
                    {column.order === undefined ? (
                      <span className={classes.headText}>{column.title}</span>
                    ) : (
                      <UnstyledButton
                        className={classes.headText}
                        title={`Sort by ${column.title}`}
                        onClick={() =>
                          onOrder({
                            field: column.order ?? "",
                            ascending: sorted ? !order.ascending : column.ascending === true,
                          })
                        }
                      >
                        <span>{column.title}</span>
                        {sorted && <span className={classes.arrow}>{order.ascending ? "↑" : "↓"}</span>}
                      </UnstyledButton>
                    )}
                    {/* biome-ignore lint/a11y/noStaticElementInteractions: dragging has no counterpart on the keyboard */}
                    <div
                      className={classes.resize}
                      onMouseDown={header.getResizeHandler()}
                      onTouchStart={header.getResizeHandler()}
                    />
                  </div>
                );
              })}
            </div>
            <div style={{ height: virtual.getTotalSize(), position: "relative" }}>
              {items.map((item) => {
                const run = rows.at(item.index);
                const on = run !== undefined && selected.has(run.run_id);
                return (
                  // biome-ignore lint/a11y/useSemanticElements: see above
                  <div
                    role="row"
                    key={item.key}
                    aria-rowindex={item.index + 2}
                    aria-selected={on}
                    tabIndex={-1}
                    className={classes.row}
                    style={{
                      gridTemplateColumns: template,
                      height: ROW_HEIGHT,
                      transform: `translateY(${item.start}px)`,
                    }}
                  >
                    {run === undefined ? (
                      <div className={classes.waiting}>
                        <Skeleton height={9} width={260} />
                      </div>
                    ) : (
                      <>
                        {/* biome-ignore lint/a11y/useSemanticElements: see above */}
                        <div role="cell" className={classes.check}>
                          <Checkbox
                            aria-label={`Select ${run.run_name}`}
                            checked={on}
                            onChange={(event) => onSelect([run.run_id], event.currentTarget.checked)}
                          />
                        </div>
                        {columns.map((column) => (
                          // biome-ignore lint/a11y/useSemanticElements: see above
                          <div
                            role="cell"
                            key={column.id}
                            className={classes.cell}
                            data-numeric={column.numeric || undefined}
                          >
                            {column.cell(run)}
                          </div>
                        ))}
                      </>
                    )}
                  </div>
                );
              })}
            </div>
          </div>
        </div>
      )}
    </>
  );
}
