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
  /** Whether a signal may be sent to break a script; one of {@link breakStates}. */
  breaking: 7,
} as const;

/** States of the slot `breaking`. */
export const breakStates = {
  /** No script runs that a signal may break; SIGINT has a listener that does nothing. */
  outside: 0,
  /** A script runs that a signal breaks. */
  inside: 1,
  /** Node.js sets up or takes down what breaks a script: no signal may be sent. */
  changing: 2,
  /** The watching thread is sending the signal. */
  sending: 3,
} as const;

/** How many slots there are. */
export const slotCount = Object.keys(slots).length;
