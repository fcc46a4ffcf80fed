import type { Static, TObject, TSchema } from "@sinclair/typebox";
import type { Role } from "../../store/types.ts";

/*
 * The declaration of an endpoint. From it follow the route (`route()`), the OpenAPI document, the types of the clients, and
 * the permissions that the pages show. A declaration is a plain value and imports nothing of the server, so that the pages
 * can import its type. The files here that are named as those of the routes (../runs.ts) export endpoints only.
 */

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** A body that is not JSON, by its media type. */
export type Media = "application/octet-stream" | "application/x-protobuf" | "text/event-stream" | "text/plain";

/** A role that a request needs. */
export interface RoleRight {
  role: Exclude<Role, "none">;
  /**
   * What the role is for:
   * - `tracker`: the tracker as a whole;
   * - `experiment`: the experiment of the run, trace, logged model or artifact that the request names (for an artifact
   *   outside every experiment's folder: the tracker);
   * - `model`: the registered model that the request names;
   * - `account`: the user's own account, of which they are admin as far as their token allows (for another's: the tracker);
   * - `target`: the experiment or model that the request names by `kind` and `target`; an admin of the tracker may too.
   */
  of: "tracker" | "experiment" | "model" | "account" | "target";
}

/**
 * What a request needs: a role, or several of which each is needed, or
 * - `public`: nothing, not even a token;
 * - `signature`: an address that the tracker has signed, in place of a token;
 * - `signed in`: any user's token;
 * - `filtered`: any user's token; the answer leaves out what the user may not view.
 */
export type Right = RoleRight | readonly RoleRight[] | "public" | "signature" | "signed in" | "filtered";

export interface Endpoint<
  M extends Method = Method,
  P extends string = string,
  Q extends TObject = TObject,
  A extends TSchema | Media = TSchema | Media,
> {
  /** Several where clients differ. */
  method: M | readonly M[];
  /**
   * The whole path, `:name` for a parameter and `*` for the rest; several where clients differ. What is under /api/2.0 and
   * /api/3.0 is served under /ajax-api too.
   */
  path: P | readonly P[];
  /** One sentence for the OpenAPI document. */
  summary: string;
  /** The fields of the path, the query and the JSON body, together. */
  request: Q;
  /** The media type of a request's body that is not JSON; fields are then in the path and the query. */
  body?: Media;
  /** The schema of the JSON answer, or the media type of an answer that is none. */
  answer: A;
  right: Right;
  /** Left out of the audit log, which otherwise has every request that changes something. */
  audit?: false;
}

/** Declares an endpoint: gives its argument back, with its literal types. */
export const endpoint = <const M extends Method, const P extends string, Q extends TObject, A extends TSchema | Media>(
  declaration: Endpoint<M, P, Q, A>,
): Endpoint<M, P, Q, A> => declaration;

export const methodsOf = ({ method }: Endpoint): Method[] => [method].flat();
export const pathsOf = ({ path }: Endpoint): string[] => [path].flat();
export const rolesOf = ({ right }: Endpoint): readonly RoleRight[] =>
  typeof right === "string" ? [] : "role" in right ? [right] : right;

/** The type of a request's fields. */
export type RequestOf<E extends Endpoint> = Static<E["request"]>;

// The rights that most endpoints have.
export const viewExperiment = { role: "viewer", of: "experiment" } as const;
export const editExperiment = { role: "editor", of: "experiment" } as const;
export const viewModel = { role: "viewer", of: "model" } as const;
export const editModel = { role: "editor", of: "model" } as const;
export const adminModel = { role: "admin", of: "model" } as const;
export const editTracker = { role: "editor", of: "tracker" } as const;
export const adminTracker = { role: "admin", of: "tracker" } as const;
