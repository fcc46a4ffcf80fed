/** Source excerpts with a caret under a position, in terminal colours. */

/** Terminal colours for tracebacks. */
export const paint = {
  error: (text: string) => `\x1b[1;31m${text}\x1b[0m`,
  dim: (text: string) => `\x1b[2m${text}\x1b[0m`,
  caret: (text: string) => `\x1b[31m${text}\x1b[0m`,
};

/**
 * Formats the lines around a position.
 * @param line counted from 0, like `column`
 * @param length how many columns to underline, at most to the end of the line
 * @param around how many lines before and after to show
 */
export function excerpt(source: string, line: number, column: number, length: number, around = 1): string[] {
  const lines = source.split("\n");
  const from = Math.max(0, line - around);
  const to = Math.min(lines.length - 1, line + around);
  const width = String(to + 1).length;
  const result: string[] = [];
  for (let each = from; each <= to; each++) {
    const text = lines[each] ?? "";
    const marker = each === line ? ">" : " ";
    result.push(`${marker} ${paint.dim(`${String(each + 1).padStart(width)} |`)} ${text}`);
    if (each !== line) continue;
    const end = Math.max(1, Math.min(length, text.length - column));
    // Tabs are kept, so that the caret is aligned with any tab width.
    const indent = text.slice(0, column).replace(/[^\t]/g, " ");
    result.push(`  ${paint.dim(`${" ".repeat(width)} |`)} ${indent}${paint.caret(`^${"~".repeat(end - 1)}`)}`);
  }
  return result;
}
