import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import type { Result, VisualizationSpec } from "vega-embed";
import classes from "./chart.module.css";

type Row = Record<string, string | number | null>;

/**
 * A Vega-Lite chart as wide as its container. The spec is rendered once; its data set "rows" is updated
 * in place, so that the chart of an active run does not flicker.
 */
export function VegaView({ spec, rows, label }: { spec: object; rows?: Row[]; label: string }) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<Result | undefined>(undefined);
  const latest = useRef(rows);
  latest.current = rows;
  const scheme = useComputedColorScheme("light");
  const [failure, setFailure] = useState<string>();

  useEffect(() => {
    const node = place.current;
    if (!node) return undefined;
    let ended = false;
    const ink = scheme === "dark" ? "#a6adb3" : "#5b6470";
    const line = scheme === "dark" ? "#2f3335" : "#e7eaec";
    void (async () => {
      try {
        const { embed } = await import("./vega.ts");
        if (ended) return;
        const first = latest.current;
        const filled = first ? { ...spec, data: { name: "rows", values: first } } : spec;
        const result = await embed(node, filled as VisualizationSpec, {
          actions: false,
          renderer: "canvas",
          // Expressions are interpreted, so that the CSP need not allow unsafe-eval.
          ast: true,
          tooltip: { theme: scheme },
          config: {
            background: "transparent",
            font: "system-ui, 'DejaVu Sans', sans-serif",
            view: { stroke: null },
            axis: {
              labelColor: ink,
              titleColor: ink,
              gridColor: line,
              domainColor: line,
              tickColor: line,
              titleFontWeight: "normal",
              labelFontSize: 11,
              titleFontSize: 11,
            },
            legend: { labelColor: ink, titleColor: ink, labelFontSize: 11, labelLimit: 260 },
          },
        });
        if (ended) return result.finalize();
        view.current = result;
        // Rows may have arrived while Vega was loading.
        if (latest.current && latest.current !== first) {
          await result.view.data("rows", latest.current).runAsync();
        }
        setFailure(undefined);
      } catch (error) {
        if (!ended) setFailure(error instanceof Error ? error.message : String(error));
      }
    })();
    return () => {
      ended = true;
      view.current?.finalize();
      view.current = undefined;
    };
  }, [spec, scheme]);

  useEffect(() => {
    if (rows) void view.current?.view.data("rows", rows).runAsync();
  }, [rows]);

  return (
    <>
      {/* Vega names its own container after its needs, so the chart's name stands around it. */}
      <div role="img" aria-label={label} className={classes.vega}>
        <div ref={place} className={classes.vega} />
      </div>
      {failure !== undefined && <div className={classes.failure}>This chart cannot be drawn: {failure}</div>}
    </>
  );
}
