import { userInfo } from "node:os";

/** Returns the name of the user who runs the server and owns its data folder. */
export function ownerName(): string {
  try {
    return userInfo().username;
  } catch {
    return process.env.USER ?? "owner"; // In a container, the user may have no name.
  }
}

/** Whether a user can have this name. */
export const isUserName = (name: string): boolean => /^[\w.@+-]{1,100}$/.test(name);

/** Whether two names look like the same person's. */
export const sameName = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
