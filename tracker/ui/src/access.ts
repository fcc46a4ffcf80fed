import { useQuery } from "@tanstack/react-query";
import type { EndpointName, Request } from "../../api/endpoints/index.ts";
import { call } from "./call.ts";
import { settings } from "./settings/api.ts";

/** The current user. */
export const useMe = () => useQuery({ queryKey: ["settings", "me"], queryFn: settings.me });

/** The resources of a page: an experiment, a model, both, or neither. */
type Shown = Request<"GET /api/anneal/permissions">;

/** The endpoints that the user may not call, each with the tracker's reason. */
export const useRefusals = (shown: Shown = {}) =>
  useQuery({
    queryKey: ["settings", "permissions", shown],
    queryFn: async (): Promise<Partial<Record<EndpointName, string>>> =>
      (await call("GET /api/anneal/permissions", shown)).refused,
  });

/** The reason a button for an endpoint is disabled; undefined if it is enabled or still loading. */
export const useRefusal = (endpoint: EndpointName, shown?: Shown): string | undefined =>
  useRefusals(shown).data?.[endpoint];
