import type { Static, TObject, TSchema } from "@sinclair/typebox";
import type { Role } from "../../store/types.ts";

/*
 * The declaration of an endpoint. The route (`route()`), the OpenAPI document, the client types and the permissions that
 * the pages show are derived from it. A declaration is a plain value and does not import the server, so that the pages
 * can import its type. Files with the name of a routes file (../runs.ts) export only endpoints.
 */

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** The media type of a body that is not JSON. */
export type Media = "application/octet-stream" | "application/x-protobuf" | "text/event-stream" | "text/plain";

/** A role that a request needs. */
export interface RoleRight {
  role: Exclude<Role, "none">;
  /**
   * The subject of the role:
   * - `tracker`: the tracker as a whole;
   * - `experiment`: the experiment of the run, trace, logged model or artifact in the request (for an artifact outside
   *   all experiment folders: the tracker);
   * - `model`: the registered model in the request;
   * - `account`: the user's own account, whose admin the user is within the token's scope (for another user's: the tracker);
   * - `target`: the experiment or model given by `kind` and `target`; an admin of the tracker has this right too.
   */
  of: "tracker" | "experiment" | "model" | "account" | "target";
}

/**
 * What a request needs: a role, or several roles that are all needed, or
 * - `public`: nothing, not even a token;
 * - `signature`: an address signed by the tracker, instead of a token;
 * - `signed in`: any user's token;
 * - `filtered`: any user's token; the response omits what the user may not view.
 */
export type Right = RoleRight | readonly RoleRight[] | "public" | "signature" | "signed in" | "filtered";

export interface Endpoint<
  M extends Method = Method,
  P extends string = string,
  Q extends TObject = TObject,
  A extends TSchema | Media = TSchema | Media,
> {
  /** Several methods if clients differ. */
  method: M | readonly M[];
  /**
   * The full path, with `:name` for a parameter and `*` for the rest; several paths if clients differ. Paths under /api/2.0
   * and /api/3.0 are also served under /ajax-api.
   */
  path: P | readonly P[];
  /** One sentence for the OpenAPI document. */
  summary: string;
  /** The fields of the path, the query and the JSON body. */
  request: Q;
  /** The media type of a request body that is not JSON. Fields are then in the path and the query. */
  body?: Media;
  /** The schema of the JSON response, or the media type of another response. */
  answer: A;
  right: Right;
  /** `false` keeps the endpoint out of the audit log, which records all other requests that change data. */
  audit?: false;
}

/** Declares an endpoint. Returns its argument with literal types. */
export const endpoint = <const M extends Method, const P extends string, Q extends TObject, A extends TSchema | Media>(
  declaration: Endpoint<M, P, Q, A>,
): Endpoint<M, P, Q, A> => declaration;

export const methodsOf = ({ method }: Endpoint): Method[] => [method].flat();
export const pathsOf = ({ path }: Endpoint): string[] => [path].flat();
export const rolesOf = ({ right }: Endpoint): readonly RoleRight[] =>
  typeof right === "string" ? [] : "role" in right ? [right] : right;

/** The type of a request's fields. */
export type RequestOf<E extends Endpoint> = Static<E["request"]>;

// The most common rights.
export const viewExperiment = { role: "viewer", of: "experiment" } as const;
export const editExperiment = { role: "editor", of: "experiment" } as const;
export const viewModel = { role: "viewer", of: "model" } as const;
export const editModel = { role: "editor", of: "model" } as const;
export const adminModel = { role: "admin", of: "model" } as const;
export const editTracker = { role: "editor", of: "tracker" } as const;
export const adminTracker = { role: "admin", of: "tracker" } as const;
