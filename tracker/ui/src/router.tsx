import { createRootRoute, createRoute, createRouter } from "@tanstack/react-router";
import { ComparePage } from "./compare/compare.tsx";
import { ModelPage } from "./models/model.tsx";
import { ModelsPage } from "./models/models.tsx";
import { VersionPage } from "./models/version.tsx";
import { Empty, Failure, PageLink } from "./parts/bits.tsx";
import { RunPage } from "./run/run.tsx";
import { RunsPage } from "./runs/runs.tsx";
import { SettingsPage } from "./settings/settings.tsx";
import { Shell } from "./shell.tsx";
import { TracePage } from "./traces/trace.tsx";
import { TracesPage } from "./traces/traces.tsx";

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

/** Search parameters without the unset ones. */
function only<T extends Record<string, string | undefined>>(fields: T): { [K in keyof T]?: string } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: string;
  };
}

const root = createRootRoute({
  component: Shell,
  notFoundComponent: () => (
    <Empty title="There is no such page">
      <PageLink to="/">All runs</PageLink>
    </Empty>
  ),
  errorComponent: ({ error }) => <Failure error={error instanceof Error ? error : new Error(String(error))} />,
});

/** Run list state stored in the URL, so that it can be shared. */
const runsSearch = (search: Record<string, unknown>) =>
  only({ filter: text(search.filter), order: text(search.order) });

const runs = createRoute({ getParentRoute: () => root, path: "/", validateSearch: runsSearch, component: RunsPage });
const experiment = createRoute({
  getParentRoute: () => root,
  path: "/experiments/$experimentId",
  validateSearch: runsSearch,
  component: RunsPage,
});
const run = createRoute({
  getParentRoute: () => root,
  path: "/runs/$runId",
  validateSearch: (search: Record<string, unknown>) => only({ tab: text(search.tab), file: text(search.file) }),
  component: RunPage,
});
const compare = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  validateSearch: (search: Record<string, unknown>) => only({ runs: text(search.runs), tab: text(search.tab) }),
  component: ComparePage,
});
const models = createRoute({ getParentRoute: () => root, path: "/models", component: ModelsPage });
const model = createRoute({ getParentRoute: () => root, path: "/models/$name", component: ModelPage });
const version = createRoute({
  getParentRoute: () => root,
  path: "/models/$name/versions/$version",
  validateSearch: (search: Record<string, unknown>) => only({ tab: text(search.tab) }),
  component: VersionPage,
});
const settings = createRoute({
  getParentRoute: () => root,
  path: "/settings",
  validateSearch: (search: Record<string, unknown>) => only({ tab: text(search.tab) }),
  component: SettingsPage,
});
const tracesRoute = createRoute({
  getParentRoute: () => root,
  path: "/traces",
  validateSearch: (search: Record<string, unknown>) => only({ experiment: text(search.experiment) }),
  component: TracesPage,
});
const trace = createRoute({ getParentRoute: () => root, path: "/traces/$traceId", component: TracePage });

export const router = createRouter({
  routeTree: root.addChildren([runs, experiment, run, compare, models, model, version, tracesRoute, trace, settings]),
  basepath: "/tracker",
  defaultPreload: false,
  // All values are strings. The router's own parser makes numbers and lists of what looks like them, such as a filter `5`.
  parseSearch: (query) => Object.fromEntries(new URLSearchParams(query)),
  stringifySearch: (search: Record<string, string | undefined>) => {
    const query = new URLSearchParams(Object.entries(only(search)) as [string, string][]).toString();
    return query === "" ? "" : `?${query}`;
  },
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
