/**
 * Messages between the host process and the child process.
 *
 * The host owns the sockets and transforms the code; the child holds the user's values. Every execution has a number
 * (`cell`) that is unique within a host process and increases.
 */

import type { MimeBundle } from "../../src/display/notebook.ts";
import type { EmitOptions } from "../transform/lower.ts";

/** Maps positions of the running code to the source: two source maps applied in order, then a column shift. */
export interface CodeMaps {
  /** From the running code to the cell without types. */
  rewrite: string;
  /** From the cell without types to the source. */
  strip: string;
  /** Columns that were inserted before the first line of the cell. */
  shift: number;
}

/** The kind of a top-level declaration. */
export type DeclarationKind = "const" | "let" | "var" | "function" | "class" | "import" | "enum" | "namespace";

/** A top-level declaration of a cell. */
export interface Declaration {
  name: string;
  kind: DeclarationKind;
}

/** Settings that the child process is started with. */
export interface ChildSettings {
  /** The notebook's folder; relative imports resolve from here. */
  folder: string;
  /** The notebook's absolute path, if known. */
  notebookPath: string | undefined;
  sessionId: string;
  /** Root of the package that contains the kernel. `anneal` resolves to it if the notebook's folder does not have it. */
  packageRoot: string;
  /** The options of the folder's tsconfig.json that change the emitted code. */
  emit: EmitOptions;
  /** `paths` of the folder's tsconfig.json. */
  paths: Record<string, string[]>;
}

/** A magic that the child executes. */
export type Command =
  | { name: "npm"; args: string[] }
  /** Without a value, prints the variable; without a name, prints all. */
  | { name: "env"; variable: string | undefined; value: string | undefined }
  | { name: "reset" }
  | { name: "shell"; program: string; script: string };

/** One cell, ready to run. */
export interface ExecuteOrder {
  type: "execute";
  cell: number;
  /** The cell's name in stack traces, such as `In[3]`. */
  label: string;
  code: string;
  maps: CodeMaps;
  declared: Declaration[];
  source: string;
  cellId: string | undefined;
  executionCount: number;
  /** False for silent cells: no result is published and the cell is not counted. */
  visible: boolean;
  /** The cell runs in a subshell. The watcher thread does not interrupt it. */
  inSubshell: boolean;
  allowStdin: boolean;
  /** `user_expressions`, as code that runs after the cell. */
  expressions: { name: string; code: string }[];
  /** Executed before the code. */
  commands: Command[];
  /** Print how long the cell took. */
  time: boolean;
}

/** A comm message. */
export interface CommPost {
  type: "comm";
  kind: "open" | "msg" | "close";
  id: string;
  /** Only with `open`. */
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

/** From the host to the child's watcher thread, which receives it even while the main thread is busy. */
export type ToWatcher =
  | { type: "interrupt"; cell: number }
  | { type: "input"; id: number; value: string | undefined }
  /** A request to V8's inspector. */
  | { type: "inspect"; id: number; method: string; params: Record<string, unknown> };

/** From the watcher thread to the host: replies and events of the inspector. */
export type FromWatcher =
  | { type: "reply"; id: number; result: unknown; error: string | undefined }
  | { type: "event"; method: string; params: Record<string, unknown> };

/** An error as Jupyter shows it. */
export interface ShownError {
  ename: string;
  evalue: string;
  traceback: string[];
  /** Packages that are not installed, if that is the error. Not sent to the front-end. */
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
  /** The cell accessed the interrupt signal: it stops itself when interrupted. */
  | { type: "handlesInterrupt"; cell: number }
  /** An uncaught error outside the execution of a cell: in a timer, or a rejected promise without a handler. */
  | { type: "error"; cell: number; error: ShownError }
  | {
      type: "done";
      cell: number;
      error: ShownError | undefined;
      /** The declared names that the cell initialized. */
      bound: string[];
      expressions: Record<string, ExpressionResult>;
    };
