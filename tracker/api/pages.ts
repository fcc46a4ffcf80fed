import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fastifyStatic from "@fastify/static";
import type { FastifyInstance } from "fastify";

/** Returns the folder of the built pages: next to the compiled tracker, or in dist/ when running from the sources. */
function pagesFolder(): string {
  const beside = fileURLToPath(new URL("../ui/", import.meta.url));
  return existsSync(join(beside, "index.html")) && existsSync(join(beside, "assets"))
    ? beside
    : fileURLToPath(new URL("../../dist/tracker/ui/", import.meta.url));
}

const POLICY = [
  "default-src 'self'",
  // Vega compiles its expressions, and the components set inline styles.
  "script-src 'self' 'unsafe-eval'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src 'self' data:",
  "object-src 'none'",
  "base-uri 'self'",
  "frame-ancestors 'self'",
].join("; ");

/** Serves the pages under /tracker: files, and index.html for all other addresses, which the client-side router handles. */
export async function pageRoutes(app: FastifyInstance): Promise<void> {
  const folder = pagesFolder();
  const index = join(folder, "index.html");
  const sendIndex = async (): Promise<string> => {
    if (!existsSync(index)) return "";
    return readFile(index, "utf8");
  };
  if (existsSync(index))
    await app.register(fastifyStatic, {
      root: join(folder, "assets"),
      prefix: "/assets/",
      decorateReply: false,
      // File names contain a digest of the content.
      immutable: true,
      maxAge: "365d",
      index: false,
    });
  const page = app.route.bind(app);
  for (const url of ["/", "/*"]) {
    page({
      method: "GET",
      url,
      handler: async (_request, reply) => {
        const html = await sendIndex();
        reply.header("cache-control", "no-cache").header("x-content-type-options", "nosniff");
        if (html === "") {
          return reply
            .code(503)
            .type("text/plain; charset=utf-8")
            .send("The tracker's pages are not built. Run `npm run build`, then reload this page.\n");
        }
        return reply.header("content-security-policy", POLICY).type("text/html; charset=utf-8").send(html);
      },
    });
  }
}
