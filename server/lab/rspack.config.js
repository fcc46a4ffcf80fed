import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rspack } from "@rspack/core";
import miniSvgDataUri from "mini-svg-data-uri";

// JupyterLab is written for its own React, of which there must be one; the tracker's pages use a newer.
const fromLab = createRequire(createRequire(import.meta.url).resolve("@jupyterlab/ui-components/package.json"));
const single = (name) => dirname(fromLab.resolve(`${name}/package.json`));

const here = dirname(fileURLToPath(import.meta.url));
const fromScript = /\.[cm]?[jt]sx?$/;

export default {
  mode: "production",
  context: here,
  entry: { main: "./main.ts" },
  output: {
    path: join(here, "../../dist/server/lab"),
    filename: "[name].[contenthash:8].js",
    chunkFilename: "[contenthash:16].js",
    assetModuleFilename: "[contenthash:16][ext]",
    publicPath: "auto",
    clean: true,
  },
  devtool: false,
  performance: { hints: false },
  stats: "errors-warnings",
  experiments: { css: false },
  resolve: {
    extensions: [".ts", ".js"],
    alias: { react: single("react"), "react-dom": single("react-dom") },
    fallback: { url: false, buffer: false, crypto: false, path: "path-browserify" },
  },
  externals: { ws: "ws" },
  plugins: [new rspack.ProvidePlugin({ process: "process/browser" })],
  module: {
    rules: [
      {
        test: /\.ts$/,
        loader: "builtin:swc-loader",
        options: { jsc: { parser: { syntax: "typescript" }, target: "es2022" } },
      },
      { test: /\.m?js$/, resolve: { fullySpecified: false } },
      { test: /\.raw\.css$/, type: "asset/source" },
      { test: /(?<!\.raw)\.css$/, use: ["style-loader", "css-loader"], type: "javascript/auto" },
      {
        test: /\.svg$/,
        issuer: /\.css$/,
        type: "asset/inline",
        generator: { dataUrl: (content) => miniSvgDataUri(content.toString()) },
      },
      { test: /\.svg$/, issuer: fromScript, type: "asset/source" },
      { test: /\.(txt|md)$/, type: "asset/source" },
      { test: /\.(png|jpe?g|gif|ttf|woff2?|eot)(\?.*)?$/, type: "asset/resource" },
    ],
  },
};
