import { Type } from "@sinclair/typebox";
import { VERSION_TITLE } from "../../message.ts";
import type { GateOperator, RunStatus, TraceState, ViewType } from "../../store/types.ts";

/*
 * The fields of requests. As in protobuf's JSON, 64-bit integers may be strings, and NaN and infinities have names.
 */

export const Text = Type.String();
export const Int = Type.Union([Type.Integer(), Type.String({ pattern: "^[+-]?\\d+$" })], { title: "an integer" });
export const Float = Type.Union(
  [Type.Number(), Type.String({ pattern: "^(NaN|[+-]?Infinity|[+-]?(\\d+\\.?\\d*|\\.\\d+)([eE][+-]?\\d+)?)$" })],
  { title: "a number, or one of the strings NaN, Infinity and -Infinity" },
);
export const Bool = Type.Union([Type.Boolean(), Type.Literal("true"), Type.Literal("false")], {
  title: "true or false",
});
export const Digest = Type.String({ pattern: "^[0-9a-f]{64}$", title: "a SHA-256 in hex" });
export const optional = Type.Optional;
export const listOf = Type.Array;
/** An enum, by name or by its number in the protocol (from `first` on), which old clients send. */
export const oneOf = <const Names extends readonly string[]>(names: Names, first = 1) =>
  Type.Unsafe<Names[number] | number>(
    Type.Union([...names.map((name) => Type.Literal(name)), ...names.map((_, index) => Type.Literal(index + first))], {
      title: `one of ${names.join(", ")}`,
    }),
  );

export const VIEWS = ["ACTIVE_ONLY", "DELETED_ONLY", "ALL"] as const satisfies readonly ViewType[];
export const View = oneOf(VIEWS);

export const RUN_STATUSES = [
  "RUNNING",
  "SCHEDULED",
  "FINISHED",
  "FAILED",
  "KILLED",
] as const satisfies readonly RunStatus[];
export const LOGGED_MODEL_STATUSES = [
  "LOGGED_MODEL_STATUS_UNSPECIFIED",
  "LOGGED_MODEL_PENDING",
  "LOGGED_MODEL_READY",
  "LOGGED_MODEL_UPLOAD_FAILED",
] as const;
export const TRACE_STATES = ["OK", "ERROR", "IN_PROGRESS"] as const satisfies readonly TraceState[];
export const WEBHOOK_STATUSES = ["ACTIVE", "DISABLED"] as const;
export const OPERATORS = ["<", "<=", ">", ">="] as const satisfies readonly GateOperator[];

export const Tag = Type.Object({ key: Text, value: optional(Text) });
export const Param = Type.Object({ key: Text, value: optional(Text) });

/** The id of a run, which old clients send as run_uuid. */
export const RUN = { run_id: optional(Text), run_uuid: optional(Text) };

export const Version = Type.Union([Type.String({ pattern: "^\\d{1,15}$" }), Type.Integer({ minimum: 0 })], {
  title: VERSION_TITLE,
});
export const BY_VERSION = { name: Text, version: Version };

/** The fields of a request for a page. */
export const PAGE = { max_results: optional(Int), page_token: optional(Text) };
/** The fields of a search in MLflow's filter language. */
export const SEARCH = { filter: optional(Text), order_by: optional(listOf(Text)), ...PAGE };
