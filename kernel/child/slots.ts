/** Slots of the memory shared by the main thread and the watcher thread. Code of cells reads some of them. */
export const slots = {
  /** The cell to interrupt; 0 for none. Checked by every loop. */
  flag: 0,
  /** The running cell of the main shell; 0 for none. */
  running: 1,
  /** 1 if the running cell handles interrupts itself. */
  handlesInterrupt: 2,
  /** Incremented with every input reply and interrupt, to wake the thread that waits for input. */
  inputReplies: 3,
  /** The last finished cell. Interrupts for it are ignored. */
  finished: 4,
  /** Number of interrupted cells that may still have timers and promises. Checked by every function. */
  stopped: 5,
  /** Counts the calls of functions with a `finally` block. */
  calls: 6,
  /** Whether SIGINT may be sent; one of {@link breakStates}. */
  breaking: 7,
} as const;

/** States of the slot `breaking`. */
export const breakStates = {
  /** No interruptible script runs; the SIGINT listener does nothing. */
  outside: 0,
  /** A script runs that SIGINT interrupts. */
  inside: 1,
  /** Node.js is changing the SIGINT listeners: no signal may be sent. */
  changing: 2,
  /** The watcher thread is sending the signal. */
  sending: 3,
} as const;

/** The number of slots. */
export const slotCount = Object.keys(slots).length;
