import { Badge } from "@mantine/core";
import type { TraceInfo } from "./api.ts";

const STATES: Record<TraceInfo["state"], { word: string; color: string }> = {
  OK: { word: "OK", color: "teal" },
  ERROR: { word: "Failed", color: "red" },
  IN_PROGRESS: { word: "In progress", color: "blue" },
  STATE_UNSPECIFIED: { word: "Unknown", color: "gray" },
};

export function TraceState({ state }: { state: TraceInfo["state"] }) {
  const { word, color } = STATES[state];
  return (
    <Badge color={color} miw="max-content">
      {word}
    </Badge>
  );
}
