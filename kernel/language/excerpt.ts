/** Lines of a cell with a caret under a place, in terminal colours. */

/** Colours of a traceback. */
export const paint = {
  error: (text: string) => `\x1b[1;31m${text}\x1b[0m`,
  dim: (text: string) => `\x1b[2m${text}\x1b[0m`,
  caret: (text: string) => `\x1b[31m${text}\x1b[0m`,
};

/**
 * @param line counted from 0, as `column` is
 * @param length how many columns to underline; the first one gets a caret, and no more than its line is underlined
 * @param around how many lines before and after to show
 */
export function excerpt(source: string, line: number, column: number, length: number, around = 1): string[] {
  const lines = source.split("\n");
  const from = Math.max(0, line - around);
  const to = Math.min(lines.length - 1, line + around);
  const width = String(to + 1).length;
  const shown: string[] = [];
  for (let each = from; each <= to; each++) {
    const text = lines[each] ?? "";
    const marker = each === line ? ">" : " ";
    shown.push(`${marker} ${paint.dim(`${String(each + 1).padStart(width)} |`)} ${text}`);
    if (each !== line) continue;
    const end = Math.max(1, Math.min(length, text.length - column));
    // Tabs stay tabs, so that the caret stands under its place however wide they are.
    const indent = text.slice(0, column).replace(/[^\t]/g, " ");
    shown.push(`  ${paint.dim(`${" ".repeat(width)} |`)} ${indent}${paint.caret(`^${"~".repeat(end - 1)}`)}`);
  }
  return shown;
}
