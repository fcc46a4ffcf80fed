import { type LookupAddress, lookup } from "node:dns";
import { BlockList, isIP, isIPv6, type LookupFunction } from "node:net";

/** Addresses that no receiver has. Clouds serve credentials on link-local ones. */
const NEVER = new BlockList();
NEVER.addSubnet("169.254.0.0", 16, "ipv4");
NEVER.addSubnet("224.0.0.0", 3, "ipv4"); // Multicast, reserved and broadcast.
NEVER.addSubnet("fe80::", 10, "ipv6");
NEVER.addSubnet("ff00::", 8, "ipv6");
NEVER.addAddress("fd00:ec2::254", "ipv6");
NEVER.addAddress("100.100.100.200", "ipv4");

/** Addresses of this machine and of private networks. */
const PRIVATE = new BlockList();
for (const [net, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
] as const)
  PRIVATE.addSubnet(net, bits, "ipv4");
for (const [net, bits] of [
  ["::", 127], // The unspecified address and the loopback address.
  ["fc00::", 7],
  ["fec0::", 10],
  ["64:ff9b::", 96], // Both ways of writing an IPv4 address for translation.
  ["64:ff9b:1::", 48],
  ["2002::", 16],
] as const)
  PRIVATE.addSubnet(net, bits, "ipv6");

/** @throws if nothing may be delivered to an address */
function checkAddress(address: string, host: string, allowPrivate: boolean): void {
  const family = isIPv6(address) ? "ipv6" : "ipv4";
  if (NEVER.check(address, family))
    throw new Error(`${host} is a link-local or reserved address, where nothing is delivered`);
  if (!allowPrivate && PRIVATE.check(address, family)) {
    throw new Error(
      `${host} is an address of this machine or a private network: start the tracker with --allow-private-webhooks to deliver there`,
    );
  }
}

/** The host of a URL, an IPv6 address without brackets. */
const hostOf = (url: URL): string => url.hostname.replace(/^\[(.*)\]$/, "$1");

/**
 * Checks what can be known of a host before its name is resolved.
 * @throws if nothing may be delivered there
 */
export function checkHost(url: URL, allowPrivate: boolean): void {
  const host = hostOf(url);
  if (isIP(host) !== 0) checkAddress(host, host, allowPrivate);
  else if (/(^|\.)localhost\.?$/i.test(host)) checkAddress("127.0.0.1", host, allowPrivate);
}

/** Resolves names for a connection, and refuses the addresses. A name cannot lead elsewhere after a check. */
export const guardedLookup =
  (allowPrivate: boolean): LookupFunction =>
  (host, options, done) => {
    lookup(host, { ...options, all: true }, (error, found: LookupAddress[]) => {
      if (error) return done(error, "", 0);
      try {
        for (const { address } of found) checkAddress(address, host, allowPrivate);
      } catch (refused) {
        return done(refused as Error, "", 0);
      }
      const [first] = found;
      if (options.all) (done as unknown as (error: null, found: LookupAddress[]) => void)(null, found);
      else done(null, first?.address ?? "", first?.family ?? 0);
    });
  };
