import { useQuery } from "@tanstack/react-query";
import type { EndpointName, Request } from "../../api/endpoints/index.ts";
import { call } from "./call.ts";
import { settings } from "./settings/api.ts";

/** Who looks at the pages. */
export const useMe = () => useQuery({ queryKey: ["settings", "me"], queryFn: settings.me });

/** What a page shows: an experiment, a model, both, or none of one kind in particular. */
type Shown = Request<"GET /api/anneal/permissions">;

/** The endpoints that whoever looks at the page may not use, each with the tracker's reason. */
export const useRefusals = (shown: Shown = {}) =>
  useQuery({
    queryKey: ["settings", "permissions", shown],
    queryFn: async (): Promise<Partial<Record<EndpointName, string>>> =>
      (await call("GET /api/anneal/permissions", shown)).refused,
  });

/** Why a button that would call an endpoint is disabled; undefined where it is not, or nothing is known yet. */
export const useRefusal = (endpoint: EndpointName, shown?: Shown): string | undefined =>
  useRefusals(shown).data?.[endpoint];
