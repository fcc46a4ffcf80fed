// Addresses that MLflow's clients print, such as /#/experiments/0/runs/1a2b, lead to the same thing on these pages.
// Imported before the router, which reads the address.

/** Returns the path below /tracker for the fragment of an address of MLflow's pages; undefined for other fragments. */
export function pathOf(fragment: string): string | undefined {
  const [kind, id, what, detail] = fragment.replace(/^#\//, "").split("?", 1)[0]?.split("/") ?? [];
  if (!fragment.startsWith("#/")) return undefined;
  if (kind === "experiments" && id) {
    if (what === "runs" && detail) return `/runs/${detail}`;
    return `/experiments/${id}`;
  }
  if (kind === "models" && id && what === "versions" && detail) return `/models/${id}/versions/${detail}`;
  if (kind === "models") return id ? `/models/${id}` : "/models";
  return "/";
}

const path = pathOf(window.location.hash);
if (path !== undefined) window.history.replaceState(null, "", `/tracker${path}`);
