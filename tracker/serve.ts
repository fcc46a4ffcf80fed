import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import { guard } from "./access/guard.ts";
import type { OidcOptions } from "./access/oidc.ts";
import { answerError, trackerPlugin } from "./api/plugin.ts";
import { openTracker, type TrackerOptions } from "./tracker.ts";

export interface ServeOptions extends TrackerOptions {
  host: string;
  /** 0 for any free port. */
  port: number;
  /** The owner's token, with all rights. Without it, every request has all rights. */
  token?: string;
  oidc?: OidcOptions;
  /** Requests per minute and token. */
  rateLimit?: number;
  /** Addresses and subnets of proxies whose X-Forwarded headers are believed; none by default. */
  trustedProxies?: string[];
}

export interface ServedTracker {
  /** The server's address, such as http://127.0.0.1:5000. */
  url: string;
  close(): Promise<void>;
}

/**
 * Runs the tracker as a standalone server.
 * @returns when the server is listening
 * @throws if the port is in use
 */
export async function serveTracker(options: ServeOptions): Promise<ServedTracker> {
  const tracker = await openTracker(options);
  const app = Fastify({
    logger: { level: "warn" },
    forceCloseConnections: true,
    trustProxy: options.trustedProxies ?? false,
    routerOptions: { maxParamLength: 4096 },
  });
  try {
    app.setErrorHandler(answerError);
    const { host, token, oidc, rateLimit } = options;
    await guard(app, {
      token,
      host,
      access: tracker.store.access,
      ...(oidc ? { oidc } : {}),
      ...(rateLimit === undefined ? {} : { rateLimit }),
    });
    await app.register(trackerPlugin, { tracker });
    app.get("/", async (_request, reply) => reply.redirect("/tracker/", 302));
    await app.listen({ host: options.host, port: options.port });
  } catch (error) {
    await app.close();
    await tracker.close();
    if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") {
      throw new Error(`Port ${options.port} is in use on ${options.host}. Choose another, or 0 for any free one.`);
    }
    throw error;
  }
  const { address, family, port } = app.server.address() as AddressInfo;
  return {
    url: `http://${family === "IPv6" ? `[${address}]` : address}:${port}`,
    close: async () => {
      await app.close();
      await tracker.close();
    },
  };
}
