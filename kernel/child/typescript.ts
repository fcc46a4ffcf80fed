/** TypeScript files that cells import become JavaScript, with loops that can be stopped. */
import MagicString from "magic-string";
import { transformSync } from "oxc-transform";
import { pollLoops } from "../rewrite.ts";
import { type Node, parse } from "../syntax.ts";

/** A file as it runs, and the maps back to what was written. */
export interface TransformedFile {
  code: string;
  maps: { rewrite: string; strip: string; shift: number };
}

/**
 * @param path for error messages
 * @throws SyntaxError with the place
 */
export function transformFile(source: string, path: string): TransformedFile {
  const lang = path.endsWith("x") ? "tsx" : "ts";
  const stripped = transformSync(path, source, { lang, sourceType: "module", sourcemap: true });
  const error = stripped.errors.find((each) => each.severity === "Error");
  if (error) {
    const offset = error.labels[0]?.start ?? 0;
    const line = source.slice(0, offset).split("\n").length;
    throw new SyntaxError(`${error.message} (${path}, line ${line})`);
  }
  const magic = new MagicString(stripped.code);
  pollLoops(magic, parse(stripped.code, "js").program as unknown as Node);
  return {
    code: magic.toString(),
    maps: {
      rewrite: magic.generateMap({ hires: "boundary" }).toString(),
      strip: JSON.stringify(stripped.map ?? {}),
      shift: 0,
    },
  };
}
