import { Text } from "@mantine/core";
import { useMemo } from "react";
import { Empty, Failure } from "../parts/bits.tsx";
import { CodeBlock } from "../parts/code.tsx";
import { Markdown } from "../parts/markdown.tsx";
import { VegaView } from "../parts/vega-view.tsx";
import classes from "./run.module.css";

interface Output {
  output_type: string;
  text?: string | string[];
  data?: Record<string, unknown>;
  ename?: string;
  evalue?: string;
}

interface Cell {
  cell_type: string;
  source: string | string[];
  execution_count?: number | null;
  outputs?: Output[];
}

const joined = (text: unknown): string => (Array.isArray(text) ? text.join("") : typeof text === "string" ? text : "");
// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal colours begin with one
const withoutColours = (text: string): string => text.replace(/\u001b\[[0-9;]*m/g, "");

function OutputView({ output }: { output: Output }) {
  if (output.output_type === "stream") return <CodeBlock plain source={withoutColours(joined(output.text))} />;
  if (output.output_type === "error") return <CodeBlock plain source={`${output.ename}: ${output.evalue}`} />;
  const data = output.data ?? {};
  const chart = Object.entries(data).find(([type]) => /^application\/vnd\.vegalite\.v\d+\+json$/.test(type))?.[1];
  if (typeof chart === "object" && chart !== null) {
    return (
      <div className={classes.document}>
        <VegaView spec={chart} label="A chart of the notebook" />
      </div>
    );
  }
  for (const type of ["image/png", "image/jpeg"]) {
    if (data[type])
      return <img className={classes.image} alt="" src={`data:${type};base64,${joined(data[type]).trim()}`} />;
  }
  const markup = joined(data["text/markdown"]) || joined(data["text/html"]);
  if (markup !== "") {
    return (
      <div className={classes.document}>
        <Markdown text={markup} />
      </div>
    );
  }
  return <CodeBlock plain source={withoutColours(joined(data["text/plain"]))} />;
}

/** An executed notebook: its cells in order, with outputs. */
export function Notebook({ text }: { text: string }) {
  const cells = useMemo((): Cell[] | Error => {
    try {
      const notebook = JSON.parse(text) as { cells?: Cell[] };
      return notebook.cells ?? [];
    } catch {
      return new Error("This notebook is not JSON.");
    }
  }, [text]);
  if (cells instanceof Error) return <Failure error={cells} />;
  if (cells.length === 0) return <Empty title="The notebook has no cells" />;
  return (
    <div className={classes.notebook}>
      {cells.map((cell, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: cells stay where they are
        <div key={index} className={classes.cell}>
          {cell.cell_type === "markdown" ? (
            <div className={classes.document}>
              <Markdown text={joined(cell.source)} />
            </div>
          ) : (
            <>
              <Text fz="xs" c="dimmed" ff="monospace" className={classes.count}>
                [{cell.execution_count ?? " "}]
              </Text>
              <div className={classes.source}>
                <CodeBlock source={joined(cell.source)} />
              </div>
              {(cell.outputs ?? []).map((output, place) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: outputs stay where they are
                <div key={place} className={classes.output}>
                  <OutputView output={output} />
                </div>
              ))}
            </>
          )}
        </div>
      ))}
    </div>
  );
}
