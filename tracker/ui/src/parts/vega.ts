// A separate chunk, so that Vega loads only when a chart is shown.
export { default as embed } from "vega-embed";
