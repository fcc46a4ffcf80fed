/** Packages that cells name and that are not there. */

/** The package that an import's specifier begins with: `@a/b` of `@a/b/c`, `x` of `x/y`. */
export function packageName(specifier: string): string {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

/** Whether npm could install something by that name: it is no path, no address, and no alias such as `@/utils`. */
export function isInstallable(name: string): boolean {
  return /^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/i.test(name);
}

/**
 * A button that puts `%npm install …` above the cell it stands under, runs it, and then runs the cell again. It is made
 * of JupyterLab's own commands, so that it works in any JupyterLab.
 */
export function installOffer(packages: readonly string[]): Record<string, string> {
  const magic = `%npm install ${packages.join(" ")}`;
  const steps = {
    commands: [
      "notebook:insert-cell-above",
      "notebook:replace-selection",
      "notebook:run-cell-and-select-next",
      "notebook:run-cell",
    ],
    // All of them get the same; only one looks at the text.
    args: { text: magic },
    errorIfNotEnabled: true,
  };
  const args = JSON.stringify(steps).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  return {
    "text/plain": `To install it, run: ${magic}`,
    "text/html":
      `<button class="jp-mod-styled jp-mod-accept" data-commandlinker-command="apputils:run-all-enabled" ` +
      `data-commandlinker-args="${args}">Install ${packages.join(", ")}</button> ` +
      `<span>runs <code>${magic}</code>, then this cell again</span>`,
  };
}
