import type { MimeBundle } from "./notebook.ts";

/** A column of a table. */
export interface Column {
  title: string;
  /** Use right for numbers, left for text. */
  align?: "left" | "right";
}

/** Escapes text for HTML. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

/**
 * A table, shown as HTML in a notebook and as aligned text in a terminal.
 * @param note a line below the table
 */
export class Table {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly string[])[];
  readonly note: string | undefined;

  constructor(columns: readonly Column[], rows: readonly (readonly string[])[], note?: string) {
    this.columns = columns;
    this.rows = rows;
    this.note = note;
  }

  toString(): string {
    const all = [this.columns.map(({ title }) => title), ...this.rows];
    const widths = this.columns.map((_, i) => all.reduce((most, row) => Math.max(most, row[i].length), 0));
    const line = (row: readonly string[]) =>
      row
        .map((cell, i) => (this.columns[i].align === "right" ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
        .join("  ")
        .trimEnd();
    const rule = widths.map((width) => "-".repeat(width)).join("  ");
    return [line(all[0]), rule, ...this.rows.map(line), ...(this.note ? ["", this.note] : [])].join("\n");
  }

  toHtml(): string {
    const cell = (tag: "td" | "th", text: string, i: number) =>
      `<${tag} style="text-align:${this.columns[i].align ?? "left"};white-space:pre-wrap;vertical-align:top">${escapeHtml(text)}</${tag}>`;
    const head = this.columns.map(({ title }, i) => cell("th", title, i)).join("");
    const body = this.rows.map((row) => `<tr>${row.map((text, i) => cell("td", text, i)).join("")}</tr>`).join("");
    const note = this.note ? `<p style="opacity:.75;margin:.4em 0">${escapeHtml(this.note)}</p>` : "";
    return `<table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>${note}`;
  }

  [Symbol.for("Jupyter.display")](): MimeBundle {
    return { "text/html": this.toHtml(), "text/plain": this.toString() };
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}
