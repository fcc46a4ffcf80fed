/** Where a tracker keeps what is not in its data folder. */
export const storeFlag = { type: "string", default: process.env.ANNEAL_STORE } as const;
export const artifactsFlag = { type: "string", default: process.env.ANNEAL_ARTIFACTS } as const;

/** An empty variable of the environment counts as none. */
export const placesOf = (store: string | undefined, artifacts: string | undefined) => ({
  ...(store ? { store } : {}),
  ...(artifacts ? { artifacts } : {}),
});
