import { createHash } from "node:crypto";
import { ListObjectsV2Command, S3Client, S3ServiceException } from "@aws-sdk/client-s3";

/** A bucket and prefix in S3 or a compatible store. */
export interface Bucket {
  client: S3Client;
  name: string;
  /** Empty, or with a trailing slash. */
  prefix: string;
}

const nothing = () => {};
const silent = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };

/** Whether an S3 error says that an object does not exist. */
export const isAbsentThere = (error: unknown): boolean =>
  error instanceof S3ServiceException && error.$metadata.httpStatusCode === 404 && error.name !== "NoSuchBucket";

/**
 * Opens `s3://bucket/prefix`, with credentials and region from the usual AWS settings. Makes a request, to report
 * configuration errors now and not at the first upload.
 * @throws an Error for a missing bucket, rejected credentials or an endpoint that does not respond
 */
export async function openBucket(location: string): Promise<Bucket> {
  const [, name, path = ""] = /^s3:\/\/([^/]+)\/?(.*?)\/*$/.exec(location) ?? [];
  if (name === undefined) throw new Error(`${location} is no place in S3; write s3://bucket or s3://bucket/prefix.`);
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REQUEST_CHECKSUM_CALCULATION, AWS_REGION, AWS_DEFAULT_REGION } =
    process.env;
  const endpoint = AWS_ENDPOINT_URL_S3 || AWS_ENDPOINT_URL;
  // Without this, the SDK prints warnings about future Node.js versions, which users cannot act on.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
  const client = new S3Client({
    ...(endpoint
      ? {
          endpoint,
          forcePathStyle: true,
          // Most other stores have no regions, but requests are signed with one.
          ...(AWS_REGION || AWS_DEFAULT_REGION ? {} : { region: "us-east-1" }),
          // Not all of them support the checksums added in 2024. Bodies are signed with their SHA-256 anyway.
          ...(AWS_REQUEST_CHECKSUM_CALCULATION ? {} : { requestChecksumCalculation: "WHEN_REQUIRED" as const }),
          responseChecksumValidation: "WHEN_REQUIRED" as const,
        }
      : { followRegionRedirects: true }),
    maxAttempts: 3,
    // Errors are returned to the caller instead of printed.
    logger: silent,
    requestHandler: {
      connectionTimeout: 5000,
      socketTimeout: 60_000,
      httpAgent: { maxSockets: 128 },
      httpsAgent: { maxSockets: 128 },
    },
  });
  withContentMd5(client);
  const bucket = { client, name, prefix: path === "" ? "" : `${path}/` };
  try {
    await client.send(new ListObjectsV2Command({ Bucket: name, Prefix: bucket.prefix, MaxKeys: 1 }));
  } catch (error) {
    client.destroy();
    throw new Error(whatIsWrong(error, location, endpoint));
  }
  return bucket;
}

/** DeleteObjects requires a digest of its body, and older stores accept only this one. */
function withContentMd5(client: S3Client): void {
  client.middlewareStack.add(
    (next, { commandName }) =>
      (args) => {
        const request = args.request as { body?: unknown; headers: Record<string, string> };
        if (commandName === "DeleteObjectsCommand" && typeof request.body === "string") {
          request.headers["content-md5"] = createHash("md5").update(request.body).digest("base64");
        }
        return next(args);
      },
    { step: "build", name: "contentMd5" },
  );
}

function whatIsWrong(error: unknown, location: string, endpoint: string | undefined): string {
  const where = `${location}${endpoint ? ` at ${endpoint}` : ""}`;
  const [name, message] = error instanceof Error ? [error.name, error.message] : ["", String(error)];
  const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
  if (name === "NoSuchBucket") return `There is no bucket for ${where}. Make it, or correct its name.`;
  if (name === "CredentialsProviderError" || name === "InvalidAccessKeyId" || name === "SignatureDoesNotMatch") {
    return `The credentials for ${where} are missing or wrong (${message}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile.`;
  }
  if (status === 401 || status === 403) {
    return `${where} refuses these credentials (${name}: ${message}). They need to list, read, write and delete there.`;
  }
  if (status === 301 || name === "PermanentRedirect")
    return `${where} is of another region (${message}). Set AWS_REGION.`;
  if (status !== undefined && status < 500) return `${where} cannot be used: ${name}: ${message}`;
  if (/region is missing/i.test(message)) return `${where}: the region is not known. Set AWS_REGION.`;
  return `${where} does not answer (${message || name}). Is the address right, and the server up?`;
}
