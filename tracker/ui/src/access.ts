import { useQuery } from "@tanstack/react-query";
import { type Me, type Role, type Scope, settings } from "./settings/api.ts";

const RANK: Readonly<Record<Role, number>> = { none: 0, viewer: 1, editor: 2, admin: 3 };
const CAP: Readonly<Record<Scope, Role>> = { read: "viewer", write: "editor", admin: "admin" };

/** Who looks at the pages; undefined until the tracker has said. */
export function useMe(): Me | undefined {
  return useQuery({ queryKey: ["settings", "me"], queryFn: settings.me }).data;
}

/**
 * Why whoever looks at the page may not do something, for the buttons of it; undefined where they may, or where nothing is
 * known yet. The tracker decides, whatever this says.
 * @param target an experiment's id or a model's name; without it, any one of the kind will do
 */
export function useRefusal(
  needed: Role,
  kind: "experiment" | "model" | "tracker",
  target?: string,
): string | undefined {
  const me = useMe();
  const grants = useQuery({
    queryKey: ["settings", "grants", me?.name],
    queryFn: () => settings.grants(me?.name ?? ""),
    enabled: me !== undefined && !me.owner,
  });
  if (!me || me.owner || !grants.data) return undefined;
  const cap = CAP[me.scope];
  if (RANK[cap] < RANK[needed]) {
    return `This token is limited to: ${me.scope}. The action needs a token with more access.`;
  }
  const granted = grants.data.filter((grant) => grant.kind === kind);
  const own = granted.find((grant) => grant.target === target)?.role;
  const any = target === undefined && granted.some(({ role }) => RANK[role] >= RANK[needed]);
  const role = own ?? me.role;
  if (any || RANK[role] >= RANK[needed]) return undefined;
  return `You are ${role} ${target === undefined ? "here" : `for this ${kind}`}; this needs ${needed}. An admin of the tracker can grant it.`;
}
