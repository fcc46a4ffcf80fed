/** The TypeScript project of a notebook: compiler options and global declarations. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** Extensions of files that import as text. */
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

/** Declarations of the globals of cells. */
export const globalTypes = `
${textFiles.map((extension) => `declare module "*.${extension}" { const text: string; export default text }`).join("\n")}

/** Deno's display API. Nothing else of Deno is available. */
declare const Deno: {
  readonly jupyter: {
    /** The key of the method that returns a value's own MIME bundle. */
    readonly $display: unique symbol;
    /** Displays a value, formatted like a cell's result. */
    display(value: unknown, options?: { raw?: boolean; update?: boolean; display_id?: string }): Promise<void>;
    /** The MIME bundle of a value. */
    format(value: unknown): Promise<Record<string, unknown>>;
    html(strings: TemplateStringsArray, ...values: unknown[]): object;
    md(strings: TemplateStringsArray, ...values: unknown[]): object;
    svg(strings: TemplateStringsArray, ...values: unknown[]): object;
    /** An image (PNG, JPEG or GIF), as bytes or as a path. */
    image(picture: string | URL | Uint8Array): object;
    /** Sends a Jupyter message: display_data, update_display_data, clear_output or comm_*. */
    broadcast(
      type: string,
      content: Record<string, unknown>,
      options?: { metadata?: Record<string, unknown>; buffers?: Uint8Array[] },
    ): Promise<void>;
  };
};

/** Displays a value or data of one MIME type. */
declare const display: {
  /** Displays a value, formatted like a cell's result. */
  (value: unknown, options?: {
    /** Do not truncate the value. */
    full?: boolean;
    /** The value is a MIME bundle. */
    raw?: boolean;
    /** Id of the output, for later updates. */
    displayId?: string;
    /** Replace the output with this id. */
    update?: boolean;
    metadata?: Record<string, unknown>;
  }): void;
  html(text: string): void;
  markdown(text: string): void;
  /** A formula in LaTeX. */
  latex(text: string): void;
  svg(text: string): void;
  /** An image, as bytes or as a path. */
  png(bytes: Uint8Array | ArrayBuffer | string | URL): void;
  jpeg(bytes: Uint8Array | ArrayBuffer | string | URL): void;
  gif(bytes: Uint8Array | ArrayBuffer | string | URL): void;
  pdf(bytes: Uint8Array | ArrayBuffer | string | URL): void;
  text(text: string): void;
  javascript(text: string): void;
  /** JSON as a tree. */
  json(value: unknown): void;
  /** A Vega-Lite chart. */
  vegaLite(specification: object): void;
  /** Data of any MIME type. */
  raw(mimeType: string, data: string | Uint8Array): void;
};
/** Requests a line of text from the user and blocks until it arrives. */
declare function prompt(message?: string, fallback?: string): string;
/** Requests a yes or no from the user and blocks until it arrives. */
declare function confirm(message?: string): boolean;
/** Shows a message and waits for Enter. */
declare function alert(message?: string): void;
`;

/**
 * The tsconfig.json for the cells of a folder, as JSON.
 *
 * @param folder the notebook's folder
 * @param packageRoot fallback for `anneal` and `@types/node` if they do not resolve from the folder
 * @param own compiler options of the folder's tsconfig.json
 * @param files the documents of the project. For a document that is not in the project, the server would build a second
 *   program with all installed type packages
 */
export function compilerConfig(
  folder: string,
  packageRoot: string,
  own: Record<string, unknown>,
  files: readonly string[],
): string {
  const requireFromFolder = createRequire(join(folder, "cell.js"));
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
      ...disabledOptions,
      module: "preserve",
      moduleResolution: "bundler",
      moduleDetection: "force",
      types: [...nodeTypes(folder, packageRoot), ...strings(own.types).filter((name) => name !== "node")],
      noEmit: true,
      allowImportingTsExtensions: true,
      paths: {
        ...(resolves(requireFromFolder, "anneal") ? {} : ownTypes(packageRoot)),
        ...(own.paths as Record<string, string[]> | undefined),
        ...(resolves(requireFromFolder, "tslab") ? {} : { tslab: [join(packageRoot, "dist/kernel/child/tslab.d.ts")] }),
      },
    },
    files,
  });
}

/** Options of a tsconfig.json that do not apply to cells. */
const disabledOptions = {
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

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
}

function resolves(require: NodeJS.Require, name: string): boolean {
  try {
    // package.json is resolved, because the package may have no CommonJS entry.
    require.resolve(`${name}/package.json`);
    return true;
  } catch {
    return false;
  }
}

function ownTypes(packageRoot: string): Record<string, string[]> {
  const manifest = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
    name: string;
    exports?: Record<string, { types?: string } | string>;
  };
  const paths: Record<string, string[]> = {};
  for (const [entry, target] of Object.entries(manifest.exports ?? {})) {
    if (typeof target === "object" && target.types)
      paths[`${manifest.name}${entry.slice(1)}`] = [join(packageRoot, target.types)];
  }
  return paths;
}

function nodeTypes(folder: string, packageRoot: string): string[] {
  for (const from of [folder, packageRoot]) {
    try {
      const types = dirname(createRequire(join(from, "cell.js")).resolve("@types/node/package.json"));
      if (existsSync(types)) return [types];
    } catch {
      // Not installed here.
    }
  }
  return [];
}
