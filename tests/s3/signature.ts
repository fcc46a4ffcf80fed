import { createHash, createHmac } from "node:crypto";
import type { IncomingMessage } from "node:http";

/** An S3 error response. */
export class S3Error extends Error {
  readonly code: string;
  readonly status: number;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
}

/** The result of a valid signature, with the data to verify the body. */
export interface Signed {
  /** The x-amz-content-sha256 of the request: a SHA-256 in hex, or a constant of Signature Version 4. */
  payload: string;
  /** The seed signature for signed chunks. */
  seed: string;
  /** Signs a text with the request's signing key, in hex. */
  sign(text: string): string;
  time: string;
  scope: string;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();

/** URI-encodes everything except letters, digits and - . _ ~, as Signature Version 4 requires. */
export const uriEncode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (it) => `%${it.charCodeAt(0).toString(16).toUpperCase()}`);

/** Parses a date such as `20260102T030405Z` to milliseconds. */
const timeOf = (text: string): number =>
  Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));

const SKEW = 15 * 60_000;

/**
 * Verifies the AWS Signature Version 4 of a request, in its headers or, for a presigned URL, in its query.
 * @throws S3Error with status 403, or 400 for a malformed signature
 */
export function verify(request: IncomingMessage, url: URL, { accessKeyId, secretAccessKey }: Credentials): Signed {
  const query = url.searchParams;
  const header = (name: string): string => String(request.headers[name] ?? "");
  const presigned = query.has("X-Amz-Signature");
  const authorization = header("authorization");
  if (!presigned && authorization === "")
    throw new S3Error(403, "AccessDenied", "Access Denied: the request is not signed");
  const field = (name: string): string =>
    presigned ? (query.get(`X-Amz-${name}`) ?? "") : (new RegExp(`${name}=([^,\\s]+)`).exec(authorization)?.[1] ?? "");
  if (!presigned && !authorization.startsWith("AWS4-HMAC-SHA256 ")) {
    throw new S3Error(400, "InvalidArgument", "Unsupported Authorization Type");
  }

  const [key = "", day = "", region = "", service = "", end = ""] = field("Credential").split("/");
  if (key !== accessKeyId) throw new S3Error(403, "InvalidAccessKeyId", "The access key is not known here.");
  if (service !== "s3" || end !== "aws4_request") throw new S3Error(400, "AuthorizationHeaderMalformed", "Bad scope");
  const time = presigned ? field("Date") : header("x-amz-date");
  const signedAt = timeOf(time);
  if (presigned) {
    if (!(Date.now() < signedAt + 1000 * Number(field("Expires"))))
      throw new S3Error(403, "AccessDenied", "Request has expired");
  } else if (!(Math.abs(Date.now() - signedAt) < SKEW)) {
    throw new S3Error(403, "RequestTimeTooSkewed", "The request's time is too far from the server's.");
  }
  if (!time.startsWith(day)) throw new S3Error(403, "SignatureDoesNotMatch", "The day is not that of the time.");

  const names = field("SignedHeaders").split(";");
  const unsigned = Object.keys(request.headers).filter((it) => it.startsWith("x-amz-") && !names.includes(it));
  if (!names.includes("host") || unsigned.length > 0) {
    throw new S3Error(403, "AccessDenied", `There were headers present which were not signed: ${unsigned}`);
  }
  const payload = presigned ? "UNSIGNED-PAYLOAD" : header("x-amz-content-sha256");
  const canonical = [
    request.method ?? "",
    decodeURIComponent(url.pathname).split("/").map(uriEncode).join("/"),
    [...query]
      .filter(([name]) => name !== "X-Amz-Signature")
      .map(([name, value]) => `${uriEncode(name)}=${uriEncode(value)}`)
      .sort()
      .join("&"),
    ...names.map((name) => `${name}:${header(name).trim().replace(/\s+/g, " ")}`),
    "",
    names.join(";"),
    payload,
  ].join("\n");
  const scope = `${day}/${region}/${service}/${end}`;
  const signingKey = [region, service, end].reduce(
    (secret, part) => hmac(secret, part),
    hmac(`AWS4${secretAccessKey}`, day),
  );
  const signed = (text: string): string => hmac(signingKey, text).toString("hex");
  const expected = signed(`AWS4-HMAC-SHA256\n${time}\n${scope}\n${sha256(canonical)}`);
  if (expected !== field("Signature")) {
    throw new S3Error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.");
  }
  return { payload, seed: expected, sign: signed, time, scope };
}
