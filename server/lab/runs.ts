import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from "@jupyterlab/application";
import { PageConfig } from "@jupyterlab/coreutils";
import { INotebookTracker } from "@jupyterlab/notebook";
import { ServerConnection } from "@jupyterlab/services";
import { LabIcon } from "@jupyterlab/ui-components";
import { Widget } from "@lumino/widgets";

interface TrackedRun {
  info: { run_id: string; run_name: string; status: string; start_time: number };
  data: { metrics?: { key: string; value: number }[]; tags?: { key: string; value: string }[] };
}

const icon = new LabIcon({
  name: "anneal:runs",
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" fill="none"><path class="jp-icon3" stroke="#616161" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" d="M4 4v16h16M7 8c3 0 3 8 7 8h5"/></svg>',
});

/** Live list of the open notebook's runs, with their status, loss, and a link to the tracker. */
class RunsPanel extends Widget {
  readonly #base: string;
  #notebook: string | undefined;
  #timer = 0;

  constructor(base: string) {
    super();
    this.#base = base;
    this.id = "anneal-runs";
    this.title.icon = icon;
    this.title.caption = "Runs";
    this.addClass("anneal-runs");
    this.node.setAttribute("aria-label", "Runs of the open notebook");
  }

  /** Shows the runs of another notebook. */
  set notebook(path: string | undefined) {
    if (path === this.#notebook) return;
    this.#notebook = path;
    void this.refresh();
  }

  protected override onAfterShow(): void {
    void this.refresh();
    const events = new EventSource(`${this.#base}api/anneal/events`);
    this.#events = events;
    // Many points arrive together, so the list is refreshed once for all of them.
    const scheduleRefresh = () => {
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => void this.refresh(), 300);
    };
    events.onmessage = scheduleRefresh;
    for (const kind of ["run", "metrics"]) events.addEventListener(kind, scheduleRefresh);
  }

  #events: EventSource | undefined;

  protected override onAfterHide(): void {
    this.#events?.close();
  }

  async refresh(): Promise<void> {
    if (!this.isVisible) return;
    const settings = ServerConnection.makeSettings();
    const root = `${this.#base}api/2.0/mlflow/`;
    const post = async (path: string, body: object) => {
      const response = await ServerConnection.makeRequest(
        root + path,
        { method: "POST", body: JSON.stringify(body) },
        settings,
      );
      return response.ok ? await response.json() : {};
    };
    const { experiments = [] } = await post("experiments/search", { max_results: 200 });
    const ids = experiments.map((e: { experiment_id: string }) => e.experiment_id);
    const name = this.#notebook?.split("/").pop();
    const filter = name ? `tags.\`mlflow.source.name\` LIKE '%${name.replaceAll("'", "")}'` : "";
    const { runs = [] } = ids.length ? await post("runs/search", { experiment_ids: ids, max_results: 50, filter }) : {};
    this.#show(runs as TrackedRun[], name);
  }

  #show(runs: readonly TrackedRun[], name: string | undefined): void {
    const header = element("header", name ? `Runs of ${name}` : "Recent runs");
    const list = runs.map((run) => this.#row(run));
    const hint = "No runs yet. Call train(…) in a cell: it is logged here automatically.";
    const all = element("a", "Open the tracker", {
      href: `${this.#base}tracker/`,
      target: "_blank",
      class: "anneal-runs-all",
    });
    this.node.replaceChildren(header, ...(list.length ? list : [element("p", hint)]), all);
  }

  #row({ info, data }: TrackedRun): HTMLElement {
    const metric = (key: string) => data.metrics?.find((m) => m.key === key)?.value;
    const loss = metric("eval/loss") ?? metric("train/loss");
    const row = element("a", "", {
      href: `${this.#base}tracker/runs/${info.run_id}`,
      target: "_blank",
      title: info.run_id,
    });
    row.append(
      element("span", "", {
        class: `anneal-status anneal-${info.status.toLowerCase()}`,
        title: info.status.toLowerCase(),
      }),
      element("span", info.run_name, { class: "anneal-run-name" }),
      element("span", loss === undefined ? "" : loss.toFixed(3), { class: "anneal-run-loss" }),
      element("time", new Date(Number(info.start_time)).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })),
    );
    return row;
  }
}

function element(tag: string, text: string, attributes: Record<string, string> = {}): HTMLElement {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: "anneal:runs",
  description: "Live list of the open notebook's runs in the sidebar.",
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ILayoutRestorer],
  activate: (app: JupyterFrontEnd, notebooks: INotebookTracker, restorer: ILayoutRestorer | null) => {
    const panel = new RunsPanel(PageConfig.getBaseUrl());
    notebooks.currentChanged.connect((_, current) => {
      panel.notebook = current?.context.path;
    });
    app.shell.add(panel, "left", { rank: 300 });
    restorer?.add(panel, panel.id);
  },
};

export default plugin;
