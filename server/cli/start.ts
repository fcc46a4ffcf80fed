import { spawn } from "node:child_process";
import { dataFlag, defineCommand } from "./command.ts";
import { locationsFlag, placesOf } from "./places.ts";

export const start = defineCommand({
  name: "start",
  help: `  anneal start                    open the studio: JupyterLab, kernel and tracker
      --port 8888  --host 127.0.0.1  --data .anneal  --root .  --no-browser
      --allow-location <s3://bucket/prefix>  as of the tracker
`,
  flags: {
    port: { type: "string", default: "8888" },
    host: { type: "string", default: "127.0.0.1" },
    data: dataFlag,
    root: { type: "string", default: "." },
    browser: { type: "boolean", default: true },
    "allow-location": locationsFlag,
  },
  async run({ values: { port, host, data, root, browser, "allow-location": locations } }) {
    const { serve } = await import("./serve.ts");
    return serve({ root, dataDir: data, host, port, ...placesOf(undefined, undefined, locations) }, (page) => {
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
