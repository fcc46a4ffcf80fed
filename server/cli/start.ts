import { spawn } from "node:child_process";
import { dataFlag, defineCommand } from "./command.ts";
import { locationsFlag, placesOf } from "./places.ts";
import { proxiesOf, trustProxyFlag } from "./proxies.ts";

export const start = defineCommand({
  name: "start",
  help: `  anneal start                    open the studio: JupyterLab, kernel and tracker
      --port 8888  --host 127.0.0.1  --data .anneal  --root .  --no-browser
      --trust-proxy <address>  --allow-private-webhooks  --allow-location <s3://bucket/prefix>   as for the tracker
`,
  flags: {
    port: { type: "string", default: "8888" },
    host: { type: "string", default: "127.0.0.1" },
    data: dataFlag,
    root: { type: "string", default: "." },
    "trust-proxy": trustProxyFlag,
    "allow-private-webhooks": { type: "boolean", default: false },
    browser: { type: "boolean", default: true },
    "allow-location": locationsFlag,
  },
  async run({ values }) {
    const { port, host, data, root, browser } = values;
    const options = {
      ...placesOf(undefined, undefined, values["allow-location"]),
      ...proxiesOf(values["trust-proxy"]),
      allowPrivateWebhooks: values["allow-private-webhooks"],
    };
    const { serve } = await import("./serve.ts");
    return serve({ root, dataDir: data, host, port, ...options }, (page) => {
      if (browser) openBrowser(page);
    });
  },
});

/** Opens a page in a browser, if there is a desktop. */
function openBrowser(url: string): void {
  const { platform, env } = process;
  if (platform === "linux" && !env.DISPLAY && !env.WAYLAND_DISPLAY) return;
  const [command, ...args] =
    platform === "darwin" ? ["open", url] : platform === "win32" ? ["cmd", "/c", "start", "", url] : ["xdg-open", url];
  const child = spawn(command, args, { stdio: "ignore", detached: true });
  child.on("error", () => undefined); // The address was printed.
  child.unref();
}
