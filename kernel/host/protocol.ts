/**
 * What the host process and the child process tell each other.
 *
 * The host owns the sockets and knows the code; the child owns the user's values. A cell is named by the number of its
 * execution (`cell`), which is unique for one life of the host and goes up.
 */

import type { MimeBundle } from "../../src/display/notebook.ts";
import type { EmitOptions } from "../transform/lower.ts";

/** Where a position of the code that runs came from: two source maps, applied in order, then a shift of columns. */
export interface CodeMaps {
  /** From what runs to the cell without its types. */
  rewrite: string;
  /** From the cell without its types to the cell. */
  strip: string;
  /** Columns that were put before the first line of the cell. */
  shift: number;
}

/** How a name of a cell was declared. */
export type DeclarationKind = "const" | "let" | "var" | "function" | "class" | "import" | "enum" | "namespace";

/** A name that a cell declares at its top level. */
export interface Declaration {
  name: string;
  kind: DeclarationKind;
}

/** Settings of a child's life, given at its start. */
export interface ChildSettings {
  /** Folder that imports start from: the notebook's. */
  folder: string;
  /** The notebook's absolute path, when known. */
  notebookPath: string | undefined;
  sessionId: string;
  /** Root of the package that the kernel belongs to: `anneal` is found there when it is not installed nearer. */
  packageRoot: string;
  /** What the folder's tsconfig.json says that changes how code runs. */
  emit: EmitOptions;
  /** `paths` of the folder's tsconfig.json. */
  paths: Record<string, string[]>;
}

/** What a magic has the child do. */
export type Command =
  | { name: "npm"; args: string[] }
  /** Without a value it shows the variable; without a name, all of them. */
  | { name: "env"; variable: string | undefined; value: string | undefined }
  | { name: "reset" }
  | { name: "shell"; program: string; script: string };

/** One cell, ready to run. */
export interface ExecuteOrder {
  type: "execute";
  cell: number;
  /** How the cell is named in stack traces, such as `In[3]`. */
  label: string;
  code: string;
  maps: CodeMaps;
  declared: Declaration[];
  source: string;
  cellId: string | undefined;
  executionCount: number;
  /** False for silent cells: no result is shown and the cell is not counted among those that were run. */
  visible: boolean;
  /** It runs beside another one, in a subshell: it is not the one that the thread is stopped for. */
  aside: boolean;
  allowStdin: boolean;
  /** `user_expressions`, each as code to run after the cell. */
  expressions: { name: string; code: string }[];
  /** Done before the code. */
  commands: Command[];
  /** Tell how long the cell took. */
  time: boolean;
}

/** A message of a comm, between the front-end and code of cells. */
export interface CommPost {
  type: "comm";
  kind: "open" | "msg" | "close";
  id: string;
  /** Of `open` only. */
  target: string;
  data: Record<string, unknown>;
  metadata: Record<string, unknown>;
  buffers: Uint8Array[];
}

/** From the host to the child's main thread. */
export type ToChild =
  | ExecuteOrder
  /** Acknowledged by `commDone` with its serial number. */
  | (CommPost & { serial: number })
  | { type: "interrupt"; cell: number }
  | { type: "input"; id: number; value: string | undefined };

/** From the host to the child's watching thread, which hears it even while the main thread is busy. */
export type ToWatcher =
  | { type: "interrupt"; cell: number }
  | { type: "input"; id: number; value: string | undefined }
  /** A request to V8's inspector. */
  | { type: "inspect"; id: number; method: string; params: Record<string, unknown> };

/** From the watching thread to the host: what the inspector answers and tells. */
export type FromWatcher =
  | { type: "reply"; id: number; result: unknown; error: string | undefined }
  | { type: "event"; method: string; params: Record<string, unknown> };

/** An error as Jupyter shows it. */
export interface ShownError {
  ename: string;
  evalue: string;
  traceback: string[];
  /** Packages that are not installed, where that is the mistake; not for the front-end. */
  missing?: string[];
}

/** A value of `user_expressions`. */
export type ExpressionResult =
  | { status: "ok"; data: MimeBundle; metadata: Record<string, unknown> }
  | ({ status: "error" } & ShownError);

/** From the child to the host. */
export type FromChild =
  | { type: "ready" }
  | { type: "stream"; cell: number; name: "stdout" | "stderr"; text: string }
  | {
      type: "display";
      cell: number;
      data: MimeBundle;
      metadata: Record<string, unknown>;
      displayId: string | undefined;
      update: boolean;
    }
  | { type: "result"; cell: number; data: MimeBundle; metadata: Record<string, unknown> }
  | { type: "clear"; cell: number; wait: boolean }
  | (CommPost & { cell: number })
  | { type: "commDone"; serial: number }
  | { type: "input"; cell: number; id: number; prompt: string; password: boolean; sync: boolean }
  /** The cell asked for the interrupt signal: it will stop by itself when interrupted. */
  | { type: "asked"; cell: number }
  /** Something went wrong outside of any cell's own course: in a timer, or a promise nobody waits for. */
  | { type: "error"; cell: number; error: ShownError }
  | {
      type: "done";
      cell: number;
      error: ShownError | undefined;
      /** Names that have a value since this cell, of those it declares. */
      bound: string[];
      expressions: Record<string, ExpressionResult>;
    };
