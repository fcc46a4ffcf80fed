/** Transforms imported TypeScript files to JavaScript, with interrupt checks. */
import MagicString from "magic-string";
import { type TransformResult, transformSync } from "oxc-transform";
import { guardModule } from "../transform/guards.ts";
import { type EmitOptions, lower, needsLowering } from "../transform/lower.ts";
import { type Node, parse } from "../transform/syntax.ts";

/** A transformed file and its source maps. */
export interface TransformedFile {
  code: string;
  maps: { rewrite: string; strip: string; shift: number };
}

/**
 * Transforms a TypeScript file.
 * @param path used for the file type and error messages
 * @param emit compiler options from the tsconfig.json of the notebook's folder
 * @throws SyntaxError with path and line
 */
export function transformFile(source: string, path: string, emit: EmitOptions): TransformedFile {
  const lang = path.endsWith("x") ? "tsx" : "ts";
  let stripped: Pick<TransformResult, "code" | "map" | "errors"> = transformSync(path, source, {
    lang,
    sourceType: "module",
    sourcemap: true,
  });
  const error = stripped.errors.find((each) => each.severity === "Error");
  if (error) {
    const offset = error.labels[0]?.start ?? 0;
    const line = source.slice(0, offset).split("\n").length;
    throw new SyntaxError(`${error.message} (${path}, line ${line})`);
  }
  if (needsLowering(source, emit)) {
    const { code, map } = lower(source, emit, path.slice(path.lastIndexOf(".")));
    stripped = { code, map: JSON.parse(map) as TransformResult["map"], errors: [] };
  }
  const magic = new MagicString(stripped.code);
  guardModule(magic, parse(stripped.code, "js").program as unknown as Node);
  return {
    code: magic.toString(),
    maps: {
      rewrite: magic.generateMap({ hires: "boundary" }).toString(),
      strip: JSON.stringify(stripped.map ?? {}),
      shift: 0,
    },
  };
}
