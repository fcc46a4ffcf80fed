import type { OidcOptions, Role } from "../../tracker/index.ts";
import { UsageError } from "../errors.ts";
import { dataFlag, defineCommand } from "./command.ts";
import { artifactsFlag, locationsFlag, placesOf, storeFlag } from "./places.ts";
import { proxiesOf, trustProxyFlag } from "./proxies.ts";

export const tracker = defineCommand({
  name: "tracker",
  help: `  anneal tracker                  start only the tracker
      --port 5000  --host 127.0.0.1  --data .anneal
      --store <file | postgresql://user:password@host/database>
      --artifacts <folder | s3://bucket/prefix>
      --allow-location <s3://bucket/prefix>
                                  let users record files there, outside the tracker; can be repeated
      --no-auth                   disable authentication
      --rate-limit <requests per minute of one user's token>
      --trust-proxy <address>     believe the X-Forwarded headers of this proxy, such as 127.0.0.1 or 10.0.0.0/8;
                                  separate several by commas
      --allow-private-webhooks    deliver webhooks to this machine and private networks too
      --oidc-issuer <url>  --oidc-client-id <id>  --oidc-role viewer  --url <address that browsers see>
                                  sign in by OpenID Connect; set the client secret as ANNEAL_OIDC_CLIENT_SECRET
`,
  flags: {
    port: { type: "string", default: "5000" },
    host: { type: "string", default: "127.0.0.1" },
    data: dataFlag,
    store: storeFlag,
    artifacts: artifactsFlag,
    "allow-location": locationsFlag,
    auth: { type: "boolean", default: true },
    "rate-limit": { type: "string" },
    "trust-proxy": trustProxyFlag,
    "allow-private-webhooks": { type: "boolean", default: false },
    "oidc-issuer": { type: "string", default: process.env.ANNEAL_OIDC_ISSUER },
    "oidc-client-id": { type: "string", default: process.env.ANNEAL_OIDC_CLIENT_ID },
    "oidc-role": { type: "string", default: "viewer" },
    url: { type: "string", default: process.env.ANNEAL_URL },
    // Accepted for compatibility with the studio; no browser is opened.
    browser: { type: "boolean", default: false },
  },
  async run({ values }) {
    const { port, host, data, store, artifacts, "allow-location": locations } = values;
    const { auth, "rate-limit": rate, "oidc-issuer": issuer } = values;
    const rateLimit = rate === undefined ? undefined : Number(rate);
    if (rateLimit !== undefined && (!Number.isInteger(rateLimit) || rateLimit < 1)) {
      throw new UsageError(`--rate-limit must be a number of requests per minute, not ${rate}.`);
    }
    const { "oidc-client-id": clientId, "oidc-role": role, url } = values;
    const { serve } = await import("./serve.ts");
    return serve({
      root: ".",
      dataDir: data,
      host,
      port,
      trackerOnly: true,
      auth,
      ...placesOf(store, artifacts, locations),
      ...proxiesOf(values["trust-proxy"]),
      allowPrivateWebhooks: values["allow-private-webhooks"],
      ...(rateLimit === undefined ? {} : { rateLimit }),
      ...(issuer ? { oidc: oidcOf({ issuer, clientId, role, url }) } : {}),
    });
  },
});

/** @throws UsageError when an option is missing, or the role is unknown */
function oidcOf(given: { issuer: string; clientId?: string; role: string; url?: string }): OidcOptions {
  const { issuer, clientId, role, url } = given;
  const clientSecret = process.env.ANNEAL_OIDC_CLIENT_SECRET;
  if (!clientId || !clientSecret) {
    throw new UsageError(
      "--oidc-issuer needs --oidc-client-id, and the client secret in the environment variable ANNEAL_OIDC_CLIENT_SECRET.",
    );
  }
  if (!isRole(role)) throw new UsageError(`--oidc-role must be none, viewer, editor or admin, not ${role}.`);
  return { issuer, role, clientId, clientSecret, ...(url ? { url } : {}) };
}

const isRole = (role: string): role is Role => ["none", "viewer", "editor", "admin"].includes(role);
