// The studio's front-end: JupyterLab, assembled in the browser from its npm packages.
import "./studio.css";
import { type JupyterFrontEndPlugin, JupyterLab } from "@jupyterlab/application";
import { JupyterPluginRegistry } from "@jupyterlab/coreutils";
import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import { IConnectionStatus, IServiceManager } from "@jupyterlab/services";
import { extensions, mimeExtensions } from "./extensions";
import runs from "./runs";

/** Excluded plugins: one would request news from jupyter.org at each start, the other is Jupyter's logo. */
const excluded = ["@jupyterlab/apputils-extension:announcements", "@jupyterlab/application-extension:logo"];

type Plugin = JupyterFrontEndPlugin<unknown>;

async function main(): Promise<void> {
  const plugins = [...extensions.map((module) => module.default as unknown as Plugin | Plugin[]), runs as Plugin]
    .flat()
    .filter(({ id }) => !excluded.includes(id));
  const pluginRegistry = new JupyterPluginRegistry();
  pluginRegistry.registerPlugins(plugins);
  const connectionStatus = (await pluginRegistry.resolveOptionalService(IConnectionStatus)) ?? undefined;
  const serviceManager = await pluginRegistry.resolveRequiredService(IServiceManager);
  const lab = new JupyterLab({
    pluginRegistry,
    serviceManager,
    mimeExtensions: mimeExtensions as unknown as IRenderMime.IExtensionModule[],
    connectionStatus,
    disabled: { matches: excluded, patterns: [] },
    deferred: { matches: [], patterns: [] },
    availablePlugins: plugins.map(({ id, description, autoStart }) => ({
      id,
      description: description ?? "",
      requires: [],
      optional: [],
      provides: null,
      autoStart,
      enabled: true,
      extension: id.split(":")[0],
    })),
  });
  // A dead kernel is no longer listed. Its session is removed at once, too, so that a restart starts a new one.
  const { kernels, sessions } = serviceManager;
  kernels.runningChanged.connect(() => void sessions.refreshRunning());
  await lab.start({ ignorePlugins: [], bubblingKeydown: true });
}

void main();
