/** Slots of the memory that the main thread shares with the watching thread, and that the code of cells looks at. */
export const slots = {
  /** Which cell to stop; 0 for none. Looked at by every loop. */
  flag: 0,
  /** Which cell's own course runs now; 0 for none. */
  running: 1,
  /** 1 when the running cell promised to stop by itself. */
  asked: 2,
  /** Goes up with every answer to a question, to wake a thread that waits for one. */
  answers: 3,
  /** The last cell that ended: what comes for it comes too late. */
  finished: 4,
  /** Interrupted cells that may have code left, in timers and promises. Looked at by every function. */
  stopped: 5,
  /** Counts calls of functions that have a `finally`. */
  calls: 6,
} as const;

/** How many slots there are. */
export const slotCount = Object.keys(slots).length;
