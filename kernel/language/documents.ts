/** The documents that the language server is given for the cells of a notebook. */
import {
  type CellModule,
  type Narrowings,
  narrowedName,
  narrowedVariables,
  type Used,
  variablesFrom,
} from "./narrowing.ts";

/** Names of the documents that are always there. */
export const files = {
  config: "tsconfig.json",
  env: "__anneal_env.d.ts",
  scope: "__anneal_scope.ts",
  cell: "__anneal_cell.ts",
  draft: "__anneal_draft.ts",
} as const;

/** What a document of a cell calls the module that gathers the newest declarations. */
export const scopeName = "__anneal_scope";

/** A cell as a document: one line that brings the names of other cells, the cell, and lines of the checker's own. */
export function frame(source: string, used: Used, narrowings: Narrowings, more: readonly string[] = []): string {
  const imported = [...used].filter(([, { form }]) => form === "import").map(([name]) => name);
  const from = `from "./${files.scope}"`;
  const head = `import * as ${scopeName} ${from};import { ${imported.join(", ")} } ${from};`;
  const variables = variablesFrom(used, narrowings, () => scopeName);
  const exported = `export { ${narrowedVariables(used, narrowings).join(", ")} };`;
  return [`${head}${variables}`, source, ...more, exported, ""].join("\n");
}

/** A cell that runs as a module, for the cells after it. */
export function moduleOf(
  module: CellModule,
  source: string,
  used: Used,
  narrowings: Narrowings,
  narrowed: readonly string[],
): string {
  const imports = [...used].flatMap(([name, owner]) =>
    owner.form === "import" ? [`import { ${name} } from "./${owner.module.file}";`] : [],
  );
  const variables = variablesFrom(used, narrowings, ({ file }) => `import("./${file}")`);
  const exported = module.declarations.filter((each) => !each.exported).map(({ name }) => name);
  const types = narrowed.map((reference) => `export type ${narrowedName(reference)} = typeof ${reference};`);
  return [
    `${imports.join("")}${variables}`,
    source,
    ...types,
    `export { ${[...exported, ...narrowedVariables(used, narrowings)].join(", ")} };`,
    "",
  ].join("\n");
}
