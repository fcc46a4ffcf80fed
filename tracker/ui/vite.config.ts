import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  root: import.meta.dirname,
  base: "/tracker/",
  plugins: [react()],
  build: {
    outDir: "../../dist/tracker/ui",
    emptyOutDir: true,
    // The colours of both schemes are written with light-dark(), which these browsers have.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // Vega is large by nature, and is loaded only where a chart is shown.
    chunkSizeWarningLimit: 1500,
  },
  // For work on the pages: `npx vite tracker/ui` beside a tracker on its usual port.
  server: {
    proxy: {
      "/api": "http://127.0.0.1:5000",
      "/ajax-api": "http://127.0.0.1:5000",
      "/get-artifact": "http://127.0.0.1:5000",
    },
  },
});
