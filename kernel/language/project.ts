/** The project that cells are to the compiler: its program, its settings, and the names that cells find there. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** Files that are text wherever they are imported from. */
const textFiles = [
  "txt",
  "md",
  "html",
  "css",
  "svg",
  "xml",
  "sql",
  "csv",
  "tsv",
  "jsonl",
  "yaml",
  "yml",
  "toml",
  "graphql",
];

/** Types of what every cell may use without importing it. */
export const globalTypes = `
${textFiles.map((extension) => `declare module "*.${extension}" { const text: string; export default text }`).join("\n")}

/** Deno's display API, and nothing else of Deno. */
declare const Deno: {
  readonly jupyter: {
    /** The key of the method by which a value shows itself. */
    readonly $display: unique symbol;
    /** Shows a value as a cell's result is shown. */
    display(value: unknown, options?: { raw?: boolean; update?: boolean; display_id?: string }): Promise<void>;
    /** The MIME bundle that a value is shown as. */
    format(value: unknown): Promise<Record<string, unknown>>;
    html(strings: TemplateStringsArray, ...values: unknown[]): object;
    md(strings: TemplateStringsArray, ...values: unknown[]): object;
    svg(strings: TemplateStringsArray, ...values: unknown[]): object;
    /** A picture (PNG, JPEG, GIF): its bytes, or the path of its file. */
    image(picture: string | URL | Uint8Array): object;
    /** Sends a message of Jupyter's protocol: display_data, update_display_data, clear_output, comm_*. */
    broadcast(
      type: string,
      content: Record<string, unknown>,
      options?: { metadata?: Record<string, unknown>; buffers?: Uint8Array[] },
    ): Promise<void>;
  };
};

/** Shows values under the cell, as a cell's result is shown, and data of one kind each. */
declare const display: {
  /** Shows a value as a cell's result is shown. */
  (value: unknown, options?: {
    /** Show all of a value that is cut otherwise. */
    full?: boolean;
    /** The value is a MIME bundle already. */
    raw?: boolean;
    /** Names the output so that it can be replaced later. */
    displayId?: string;
    /** Replace the output of that name. */
    update?: boolean;
    metadata?: Record<string, unknown>;
  }): void;
  html(text: string): void;
  markdown(text: string): void;
  /** Mathematics as LaTeX writes it. */
  latex(text: string): void;
  svg(text: string): void;
  /** A picture: its bytes, or the path of its file. */
  png(bytes: Uint8Array | ArrayBuffer | string | URL): void;
  jpeg(bytes: Uint8Array | ArrayBuffer | string | URL): void;
  gif(bytes: Uint8Array | ArrayBuffer | string | URL): void;
  pdf(bytes: Uint8Array | ArrayBuffer | string | URL): void;
  text(text: string): void;
  javascript(text: string): void;
  /** JSON as a tree. */
  json(value: unknown): void;
  /** A chart, from a Vega-Lite specification. */
  vegaLite(specification: object): void;
  /** Data of any MIME type. */
  raw(mimeType: string, data: string | Uint8Array): void;
};
/** Asks the person at the notebook for a line of text, and waits for it. */
declare function prompt(message?: string, otherwise?: string): string;
/** Asks the person at the notebook for a yes or no, and waits for it. */
declare function confirm(message?: string): boolean;
/** Shows a message and waits until it was read. */
declare function alert(message?: string): void;
`;

/**
 * The compiler's settings for the cells of a folder, as JSON.
 *
 * @param folder the notebook's
 * @param packageRoot where `anneal` and `@types/node` are found when they are not installed nearer
 * @param own what the folder's tsconfig.json says
 * @param files every document that the server is given, but for the modules of cells: for one that is in no project
 *   the server would build a second program, with all type packages there are
 */
export function compilerConfig(
  folder: string,
  packageRoot: string,
  own: Record<string, unknown>,
  files: readonly string[],
): string {
  const near = createRequire(join(folder, "cell.js"));
  return JSON.stringify({
    compilerOptions: {
      strict: true,
      target: "es2024",
      lib: ["es2024"],
      customConditions: ["node"],
      allowJs: true,
      resolveJsonModule: true,
      skipLibCheck: true,
      ...own,
      ...withoutMeaning,
      module: "preserve",
      moduleResolution: "bundler",
      moduleDetection: "force",
      types: [...nodeTypes(folder, packageRoot), ...texts(own.types).filter((name) => name !== "node")],
      noEmit: true,
      allowImportingTsExtensions: true,
      paths: {
        ...(resolves(near, "anneal") ? {} : ownTypes(packageRoot)),
        ...(own.paths as Record<string, string[]> | undefined),
        ...(resolves(near, "tslab") ? {} : { tslab: [join(packageRoot, "dist/kernel/child/tslab.d.ts")] }),
      },
    },
    files,
  });
}

/** What a tsconfig.json may say of programs that makes no sense for a cell. */
const withoutMeaning = {
  composite: undefined,
  incremental: undefined,
  tsBuildInfoFile: undefined,
  declaration: undefined,
  declarationMap: undefined,
  emitDeclarationOnly: undefined,
  isolatedDeclarations: undefined,
  isolatedModules: undefined,
  noUnusedLocals: undefined,
  noUnusedParameters: undefined,
  outDir: undefined,
  rootDir: undefined,
  verbatimModuleSyntax: undefined,
};

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
}

function resolves(require: NodeJS.Require, name: string): boolean {
  try {
    // The package has no CommonJS entry, but its package.json is exported.
    require.resolve(`${name}/package.json`);
    return true;
  } catch {
    return false;
  }
}

function ownTypes(packageRoot: string): Record<string, string[]> {
  const read = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
    name: string;
    exports?: Record<string, { types?: string } | string>;
  };
  const paths: Record<string, string[]> = {};
  for (const [entry, target] of Object.entries(read.exports ?? {})) {
    if (typeof target === "object" && target.types)
      paths[`${read.name}${entry.slice(1)}`] = [join(packageRoot, target.types)];
  }
  return paths;
}

function nodeTypes(folder: string, packageRoot: string): string[] {
  for (const from of [folder, packageRoot]) {
    try {
      const found = dirname(createRequire(join(from, "cell.js")).resolve("@types/node/package.json"));
      if (existsSync(found)) return [found];
    } catch {
      // Not there: the next place.
    }
  }
  return [];
}
