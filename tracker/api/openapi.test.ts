import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestTracker } from "../testing.ts";
import { methodsOf, pathsOf } from "./endpoints/endpoint.ts";
import { endpoints } from "./endpoints/index.ts";

interface Document {
  paths: Record<
    string,
    Record<string, { operationId: string; description: string; responses: Record<string, unknown>; "x-right": unknown }>
  >;
  components: { schemas: Record<string, object> };
}

let t: TestTracker;
let document: Document;
beforeAll(async () => {
  t = await TestTracker.open();
  document = (await t.get("/api/openapi.json")).body as unknown as Document;
});
afterAll(() => t.close());

const written = (path: string): string => path.replace(/:(\w+)/g, "{$1}").replace("*", "{path}");

describe("the API document", () => {
  test("has every declared endpoint, and no other", () => {
    const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const declared = endpoints.flatMap((it) =>
      pathsOf(it).flatMap((path) => methodsOf(it).map((method) => `${method} ${written(path)}`)),
    );
    expect(documented.sort()).toEqual(declared.sort());
    expect(new Set(declared).size).toBe(declared.length);
    expect(declared.length).toBeGreaterThan(120);
  });

  test("holds every schema that it refers to, and gives each operation a name of its own", () => {
    const refs = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name);
    expect(refs.length).toBeGreaterThan(100);
    for (const name of refs) expect(document.components.schemas).toHaveProperty(name);
    const ids = Object.values(document.paths).flatMap((methods) =>
      Object.values(methods).flatMap(({ operationId }) => operationId ?? []),
    );
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(id).toMatch(/^[a-z][A-Za-z0-9]+$/);
  });

  test("states the right that each endpoint needs", () => {
    const promote = document.paths["/api/anneal/model-versions/promote"].post;
    expect(promote["x-right"]).toEqual({ role: "editor", of: "model" });
    expect(promote.description).toBe("Needs the role editor of the model.");
    expect(promote.responses).toHaveProperty("403");
    const search = document.paths["/api/2.0/mlflow/runs/search"].post;
    expect([search["x-right"], "403" in search.responses]).toEqual(["filtered", false]);
  });
});
