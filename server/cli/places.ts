/** Flags for the tracker's database and artifacts, if not in the data folder. */
export const storeFlag = { type: "string", default: process.env.ANNEAL_STORE } as const;
export const artifactsFlag = { type: "string", default: process.env.ANNEAL_ARTIFACTS } as const;

/** Treats empty environment variables as unset. */
export const placesOf = (store: string | undefined, artifacts: string | undefined) => ({
  ...(store ? { store } : {}),
  ...(artifacts ? { artifacts } : {}),
});
