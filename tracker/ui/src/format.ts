import type { Num } from "./api.ts";

/** Formats a number with thousands separators, about five significant digits, and an exponent only if needed. */
export function formatNumber(value: Num | number | undefined | null): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1.79e308) return value > 0 ? "∞" : "-∞";
  if (Number.isInteger(value) && size < 1e12) return value.toLocaleString("en-US");
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(2);
  if (size >= 1000) return value.toLocaleString("en-US", { maximumFractionDigits: 1 });
  return String(Number(value.toPrecision(4)));
}

export function formatBytes(bytes: number | undefined): string {
  if (bytes === undefined) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

export function formatDuration(ms: number): string {
  if (ms < 0) return "";
  if (ms > 0 && ms < 10) return `${Number(ms.toPrecision(2))} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  if (whole < 86_400)
    return `${Math.floor(whole / 3600)} h ${String(Math.floor(whole / 60) % 60).padStart(2, "0")} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor(whole / 3600) % 24} h`;
}

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const clock = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});

/** Whether a time is within the range of dates: clients may log any number. */
export const isDate = (time: number): boolean => !Number.isNaN(new Date(time).getTime());

/** A local date and time in full; the number if it is no date. */
export const formatDate = (time: number): string => (isDate(time) ? full.format(time) : `${time} (not a date)`);

/** Relative time if recent, else the local date. */
export function formatAgo(time: number, now = Date.now()): string {
  if (!isDate(time)) return "not a date";
  const seconds = Math.round((time - now) / 1000);
  const past = -seconds;
  if (past < 45) return past < 5 ? "just now" : relative.format(seconds, "second");
  if (past < 45 * 60) return relative.format(Math.round(seconds / 60), "minute");
  if (past < 20 * 3600) return relative.format(Math.round(seconds / 3600), "hour");
  return past < 300 * 86_400 ? clock.format(time) : day.format(time);
}

/** The file name of a path. */
export const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/** `{"a": 1}` as string pairs; empty if the text is not a JSON object. */
export function jsonPairs(text: string | undefined): [string, string][] {
  try {
    const value: unknown = JSON.parse(text ?? "{}");
    if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
    return Object.entries(value).map(([key, one]) => [key, typeof one === "string" ? one : JSON.stringify(one)]);
  } catch {
    return [];
  }
}
