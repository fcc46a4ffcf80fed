// Vega's own module graph, apart from the pages' code so that it loads only where a chart is shown.
export { default as embed } from "vega-embed";
