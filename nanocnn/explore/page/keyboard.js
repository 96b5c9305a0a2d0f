/** Not here yet. */
export function mount(element) {}
