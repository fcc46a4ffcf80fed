/** Flags for the tracker's database and artifacts, if not in the data folder. */
export const storeFlag = { type: "string", default: process.env.ANNEAL_STORE } as const;
export const artifactsFlag = { type: "string", default: process.env.ANNEAL_ARTIFACTS } as const;
const listed = (process.env.ANNEAL_ALLOW_LOCATIONS ?? "").split(",").filter((prefix) => prefix.trim() !== "");
/** Locations that users may record for files outside the tracker. In the environment they are separated by commas. */
export const locationsFlag = { type: "string", multiple: true, default: listed } as const;

/** Treats empty environment variables as unset. */
export const placesOf = (
  store: string | undefined,
  artifacts: string | undefined,
  locations: readonly string[] = [],
) => ({
  ...(store ? { store } : {}),
  ...(artifacts ? { artifacts } : {}),
  allowedLocations: locations.map((prefix) => prefix.trim()),
});
