import { classHighlighter, highlightTree } from "@lezer/highlight";
import { parser } from "@lezer/javascript";
import { type ReactNode, useMemo } from "react";
import classes from "./code.module.css";

const typescript = parser.configure({ dialect: "ts" });
/** Longer texts are not highlighted, to keep the page responsive. */
const MAX_COLOURED = 200_000;

function coloured(source: string): ReactNode[] {
  const parts: ReactNode[] = [];
  let at = 0;
  highlightTree(typescript.parse(source), classHighlighter, (from, to, name) => {
    if (from > at) parts.push(source.slice(at, from));
    parts.push(
      <span key={from} className={name}>
        {source.slice(from, to)}
      </span>,
    );
    at = to;
  });
  parts.push(source.slice(at));
  return parts;
}

/** Source code, with highlighting for TypeScript, JavaScript and JSON. */
export function CodeBlock({ source, plain = false }: { source: string; plain?: boolean }) {
  const content = useMemo(() => (plain || source.length > MAX_COLOURED ? source : coloured(source)), [source, plain]);
  return (
    <pre className={classes.code}>
      <code>{content}</code>
    </pre>
  );
}
