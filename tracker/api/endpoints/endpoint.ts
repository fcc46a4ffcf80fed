import type { Static, TObject, TSchema } from "@sinclair/typebox";
import type { Role } from "../../store/types.ts";

/*
 * What the declaration of an endpoint is. From it follow the route (`route()`), the OpenAPI document, the types of the
 * clients, and what the pages are told of a user's permissions. A declaration is a plain value and imports nothing of the
 * server, so that the pages can import its type.
 */

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** A body that is not JSON, by its media type. */
export type Media = "application/octet-stream" | "application/x-protobuf" | "text/event-stream" | "text/plain";

/** A role that a request needs. */
export interface RoleRight {
  role: Exclude<Role, "none">;
  /**
   * For what: the tracker as a whole; the experiment (of the run, trace, logged model or artifact) or registered model
   * that the request names; the user's own account (for another's: the tracker); `target`, the experiment or model that
   * the request names by `kind` and `target` (or the tracker).
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
  /** Several where old clients use another one. */
  method: M | readonly M[];
  /** The whole path, `:name` for a parameter. Further ones are for old clients. What is under /api is under /ajax-api too. */
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
/** The type of a JSON answer; never for other answers. */
export type AnswerOf<E extends Endpoint> = E["answer"] extends TSchema ? Static<E["answer"]> : never;

// The rights that most endpoints have.
export const viewExperiment = { role: "viewer", of: "experiment" } as const;
export const editExperiment = { role: "editor", of: "experiment" } as const;
export const viewModel = { role: "viewer", of: "model" } as const;
export const editModel = { role: "editor", of: "model" } as const;
export const adminModel = { role: "admin", of: "model" } as const;
export const editTracker = { role: "editor", of: "tracker" } as const;
export const adminTracker = { role: "admin", of: "tracker" } as const;
