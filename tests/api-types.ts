import { compile } from "json-schema-to-typescript";
import { componentSchemas } from "../tracker/api/openapi.ts";

/** The text of src/track/api/types.ts, before it is formatted. */
export async function typesText(): Promise<string> {
  const definitions = Object.fromEntries(Object.entries(componentSchemas()).map(([name, schema]) => [name, schema]));
  const text = JSON.stringify({
    title: "Shapes",
    type: "object",
    properties: {},
    additionalProperties: false,
    definitions,
  }).replaceAll("#/components/schemas/", "#/definitions/");
  const types = await compile(JSON.parse(text), "Shapes", {
    bannerComment: "// Made by scripts/api-types.js from the tracker's API document.",
    unreachableDefinitions: true,
    style: { printWidth: 120 },
  });
  return types
    .replace(/export interface Shapes \{\}\n+/, "")
    .replace(/\/\*\*\n(?: \*.*\n)*? \* This interface was referenced by (?:.*\n)*? \*\/\n/g, "");
}
