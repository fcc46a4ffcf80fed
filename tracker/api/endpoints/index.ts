import type { Static, TSchema } from "@sinclair/typebox";
import * as access from "./access.ts";
import * as anneal from "./anneal.ts";
import * as artifacts from "./artifacts.ts";
import type { Endpoint } from "./endpoint.ts";
import * as evaluation from "./evaluation.ts";
import * as events from "./events.ts";
import * as experiments from "./experiments.ts";
import * as graphql from "./graphql.ts";
import * as loggedModels from "./logged-models.ts";
import * as metrics from "./metrics.ts";
import * as multipart from "./multipart.ts";
import * as registry from "./registry.ts";
import * as runs from "./runs.ts";
import * as server from "./server.ts";
import * as traces from "./traces.ts";
import * as tracesV2 from "./traces-v2.ts";
import * as webhooks from "./webhooks.ts";

const declared = {
  ...server,
  ...experiments,
  ...runs,
  ...metrics,
  ...artifacts,
  ...multipart,
  ...loggedModels,
  ...registry,
  ...traces,
  ...tracesV2,
  ...evaluation,
  ...anneal,
  ...access,
  ...webhooks,
  ...graphql,
  ...events,
};

/** Every endpoint of the tracker. */
export const endpoints: readonly Endpoint[] = Object.values(declared);

type Declared = (typeof declared)[keyof typeof declared];
type Named<E> =
  E extends Endpoint<infer M, infer P, infer Q, infer A> ? { name: `${M} ${P}`; request: Q; answer: A } : never;

/** The endpoints by method and path, such as `GET /api/anneal/me`; one entry for each path. */
export type Endpoints = { [E in Named<Declared> as E["name"]]: E };
export type EndpointName = keyof Endpoints;
export type Request<N extends EndpointName> = Static<Endpoints[N]["request"]>;
export type Answer<N extends EndpointName> = Endpoints[N]["answer"] extends infer A
  ? A extends TSchema
    ? Static<A>
    : never
  : never;
