import type { Role } from "./api.ts";

/** Roles, least privileged first. */
export const ROLES: { value: Role; label: string }[] = [
  { value: "none", label: "No access" },
  { value: "viewer", label: "Viewer: can read" },
  { value: "editor", label: "Editor: can log and change" },
  { value: "admin", label: "Admin: can also grant access" },
];
