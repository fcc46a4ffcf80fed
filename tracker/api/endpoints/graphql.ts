import { Type } from "@sinclair/typebox";
import { endpoint } from "./endpoint.ts";
import { optional, Text } from "./fields.ts";
import { object } from "./schemas.ts";

const Anything = Type.Record(Type.String(), Type.Unknown());

export const queryGraphql = endpoint({
  method: "POST",
  path: "/graphql",
  summary: "The GraphQL queries of MLflow's pages: experiments, runs, metrics, artifacts, data sets and versions.",
  request: Type.Object({ query: Text, operationName: optional(Text), variables: optional(Anything) }),
  answer: object({
    data: Type.Union([Anything, Type.Null()]),
    errors: Type.Union([Type.Array(Text), Type.Null()]),
  }),
  right: "filtered",
});
