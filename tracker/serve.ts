import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import { guard } from "./access/guard.ts";
import type { OidcOptions } from "./access/oidc.ts";
import { answerError, trackerPlugin } from "./api/plugin.ts";
import { openTracker, type TrackerOptions } from "./tracker.ts";

export interface ServeOptions extends TrackerOptions {
  host: string;
  /** 0 lets the system choose. */
  port: number;
  /** Opens everything, as the owner of the data folder; without it, everyone may do everything who reaches the server. */
  token?: string;
  oidc?: OidcOptions;
  /** Requests a minute that one user's token may make. */
  rateLimit?: number;
}

export interface ServedTracker {
  /** Where it answers, such as http://127.0.0.1:5000. */
  url: string;
  close(): Promise<void>;
}

/**
 * Runs the tracker by itself.
 * @returns when it answers
 * @throws with the port in the message when it is taken
 */
export async function serveTracker(options: ServeOptions): Promise<ServedTracker> {
  const tracker = await openTracker(options);
  const app = Fastify({
    logger: { level: "warn" },
    forceCloseConnections: true,
    // A proxy on this machine or network says whom it speaks for.
    trustProxy: ["loopback", "uniquelocal"],
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
