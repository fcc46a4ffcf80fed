import { isIP } from "node:net";
import { UsageError } from "../errors.ts";

/** `--trust-proxy`: addresses and subnets of proxies, separated by commas. */
export const trustProxyFlag = { type: "string", default: process.env.ANNEAL_TRUST_PROXY } as const;

/** @throws UsageError for what is neither an address nor a subnet */
export function proxiesOf(list: string | undefined): { trustedProxies?: string[] } {
  if (!list) return {};
  const trustedProxies = list.split(",").map((each) => each.trim());
  for (const proxy of trustedProxies) {
    const [address = "", bits, ...rest] = proxy.split("/");
    const family = isIP(address);
    const isSubnet = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
    if (family === 0 || !isSubnet || rest.length > 0) {
      throw new UsageError(`--trust-proxy must be an IP address or a subnet such as 10.0.0.0/8, not ${proxy}.`);
    }
  }
  return { trustedProxies };
}
