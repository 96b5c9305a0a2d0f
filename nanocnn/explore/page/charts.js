/** Not here yet. */
export {};
