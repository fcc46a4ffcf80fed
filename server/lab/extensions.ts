// All JupyterLab extensions of the studio: plugins and styles.
import widgets from "@jupyter-widgets/jupyterlab-manager";
import * as application from "@jupyterlab/application-extension";
import * as apputils from "@jupyterlab/apputils-extension";
import * as cellToolbar from "@jupyterlab/cell-toolbar-extension";
import * as codemirror from "@jupyterlab/codemirror-extension";
import * as completer from "@jupyterlab/completer-extension";
import * as console from "@jupyterlab/console-extension";
import * as csvviewer from "@jupyterlab/csvviewer-extension";
import * as debug from "@jupyterlab/debugger-extension";
import * as docmanager from "@jupyterlab/docmanager-extension";
import * as documentsearch from "@jupyterlab/documentsearch-extension";
import * as filebrowser from "@jupyterlab/filebrowser-extension";
import * as fileeditor from "@jupyterlab/fileeditor-extension";
import * as help from "@jupyterlab/help-extension";
import * as htmlviewer from "@jupyterlab/htmlviewer-extension";
import * as imageviewer from "@jupyterlab/imageviewer-extension";
import * as json from "@jupyterlab/json-extension";
import * as launcher from "@jupyterlab/launcher-extension";
import * as lsp from "@jupyterlab/lsp-extension";
import * as mainmenu from "@jupyterlab/mainmenu-extension";
import * as markdownviewer from "@jupyterlab/markdownviewer-extension";
import * as markedparser from "@jupyterlab/markedparser-extension";
import * as mathjax from "@jupyterlab/mathjax-extension";
import * as metadataform from "@jupyterlab/metadataform-extension";
import * as notebook from "@jupyterlab/notebook-extension";
import * as pdf from "@jupyterlab/pdf-extension";
import * as rendermime from "@jupyterlab/rendermime-extension";
import * as running from "@jupyterlab/running-extension";
import * as services from "@jupyterlab/services-extension";
import * as settingeditor from "@jupyterlab/settingeditor-extension";
import * as shortcuts from "@jupyterlab/shortcuts-extension";
import * as statusbar from "@jupyterlab/statusbar-extension";
import * as themeDark from "@jupyterlab/theme-dark-extension";
import * as themeLight from "@jupyterlab/theme-light-extension";
import * as toc from "@jupyterlab/toc-extension";
import * as tooltip from "@jupyterlab/tooltip-extension";
import * as translation from "@jupyterlab/translation-extension";
import * as uiComponents from "@jupyterlab/ui-components-extension";
import * as vega5 from "@jupyterlab/vega5-extension";
import "@jupyterlab/application-extension/style/index.js";
import "@jupyterlab/apputils-extension/style/index.js";
import "@jupyterlab/cell-toolbar-extension/style/index.js";
import "@jupyterlab/codemirror-extension/style/index.js";
import "@jupyterlab/completer-extension/style/index.js";
import "@jupyterlab/console-extension/style/index.js";
import "@jupyterlab/csvviewer-extension/style/index.js";
import "@jupyterlab/debugger-extension/style/index.js";
import "@jupyterlab/docmanager-extension/style/index.js";
import "@jupyterlab/documentsearch-extension/style/index.js";
import "@jupyterlab/filebrowser-extension/style/index.js";
import "@jupyterlab/fileeditor-extension/style/index.js";
import "@jupyterlab/help-extension/style/index.js";
import "@jupyterlab/htmlviewer-extension/style/index.js";
import "@jupyterlab/imageviewer-extension/style/index.js";
import "@jupyterlab/json-extension/style/index.js";
import "@jupyterlab/launcher-extension/style/index.js";
import "@jupyterlab/lsp-extension/style/index.js";
import "@jupyterlab/mainmenu-extension/style/index.js";
import "@jupyterlab/markdownviewer-extension/style/index.js";
import "@jupyterlab/markedparser-extension/style/index.js";
import "@jupyterlab/mathjax-extension/style/index.js";
import "@jupyterlab/metadataform-extension/style/index.js";
import "@jupyterlab/notebook-extension/style/index.js";
import "@jupyterlab/pdf-extension/style/index.js";
import "@jupyterlab/rendermime-extension/style/index.js";
import "@jupyterlab/running-extension/style/index.js";
import "@jupyterlab/settingeditor-extension/style/index.js";
import "@jupyterlab/shortcuts-extension/style/index.js";
import "@jupyterlab/statusbar-extension/style/index.js";
import "@jupyterlab/toc-extension/style/index.js";
import "@jupyterlab/tooltip-extension/style/index.js";
import "@jupyterlab/translation-extension/style/index.js";
import "@jupyterlab/ui-components-extension/style/index.js";
import "@jupyterlab/vega5-extension/style/index.js";

/** Modules whose default export is one plugin or a list of them. */
export const extensions = [
  application,
  apputils,
  cellToolbar,
  codemirror,
  completer,
  console,
  csvviewer,
  debug,
  docmanager,
  documentsearch,
  filebrowser,
  fileeditor,
  help,
  htmlviewer,
  imageviewer,
  launcher,
  lsp,
  mainmenu,
  markdownviewer,
  markedparser,
  mathjax,
  metadataform,
  notebook,
  rendermime,
  running,
  services,
  settingeditor,
  shortcuts,
  statusbar,
  themeDark,
  themeLight,
  toc,
  tooltip,
  translation,
  uiComponents,
  { default: widgets },
];

/** Modules that render a MIME type. */
export const mimeExtensions = [json, pdf, vega5];
