export { type LineChartOptions, lineChart, type Series, vegaLiteMime } from "./chart.ts";
export { formatCount, formatDuration, LiveOutput } from "./live.ts";
export {
  type Comm,
  type CommMessage,
  type Comms,
  type DisplayOptions,
  type ExecutedCell,
  type MimeBundle,
  type Notebook,
  notebook,
} from "./notebook.ts";
export { Progress } from "./progress.ts";
export { type Column, escapeHtml, Table } from "./table.ts";
export {
  Button,
  Checkbox,
  Dropdown,
  FloatProgress,
  FloatSlider,
  HBox,
  HTML,
  IntProgress,
  IntSlider,
  type ProgressOptions,
  type RangeOptions,
  Text,
  type ValueOptions,
  VBox,
  Widget,
} from "./widgets.ts";
