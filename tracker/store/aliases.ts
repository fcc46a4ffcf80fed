/** Aliases by which a model is served to its users. They pass the same gates as Production, and protect like it. */
export const GUARDED_ALIASES: readonly string[] = ["champion", "production"];

/** Whether an alias is guarded, in whatever case it is written. */
export const isGuarded = (alias: string): boolean => GUARDED_ALIASES.includes(alias.toLowerCase());
