/** What the reader looks at, as text fields kept in the address: a state is a link. */

export const FIELDS = [
  "layer", "view", "cell", "weight", "digit", "label", "training", "panel", "tour", "grad",
];
const GRADIENTS = {x: "dx", y: "dy", z: "dz"};
const listeners = [];
let fields = parse(location.hash);
let timer = 0;

/** The fields of an address's hash; unknown ones are left out. */
function parse(hash) {
  const found = Object.fromEntries(FIELDS.map((name) => [name, null]));
  for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (FIELDS.includes(name)) {
      found[name] = value;
    }
  }
  return normal(found);
}

/** A view of a gradient is that of the value with gradients switched on. */
function normal(values) {
  const view = values.view || "";
  const isGradient = /^(d[xyz]$|grad:)/.test(view);
  const value = view.startsWith("grad:") ? view.replace("grad:", "param:") : view.slice(1);
  return isGradient ? {...values, view: value, grad: "1"} : values;
}

/** The hash of these fields; commas, colons and slashes stay legible. */
function format(values) {
  const plain = (text) => encodeURIComponent(text).replace(/%(2C|3A|2F)/g, decodeURIComponent);
  const kept = FIELDS.filter((name) => values[name] !== null);
  return "#" + kept.map((name) => `${name}=${plain(values[name])}`).join("&");
}

/** Put the fields into the address now; in a saved page on disk this may not be allowed. */
function write(push) {
  clearTimeout(timer);
  timer = 0;
  const hash = format(fields);
  const isFramed = location.protocol === "about:"; // within a notebook: it has no address
  if (isFramed || hash === location.hash || (hash === "#" && !location.hash)) {
    return;
  }
  try {
    history[push ? "pushState" : "replaceState"](null, "", hash);
  } catch {
    location.replace(hash);
  }
}

function notify(before) {
  const changed = FIELDS.filter((name) => before[name] !== fields[name]);
  for (const {names, callback} of changed.length ? [...listeners] : []) {
    if (!names || names.some((name) => changed.includes(name))) {
      callback(changed);
    }
  }
}

function follow() {
  const before = fields;
  fields = parse(location.hash);
  notify(before);
}

addEventListener("popstate", follow);
addEventListener("hashchange", follow);
addEventListener("pagehide", () => timer && write(false));

export const state = {
  /** The text of a field, or null. */
  get(name) {
    return fields[name];
  },

  /**
   * Change fields, tell who listens, and put them into the address: with `push` as a step that
   * the browser's Back undoes, else (moves of a pointer) a moment later, in place of this one.
   */
  set(values, {push = false} = {}) {
    const before = fields;
    const given = Object.entries(values).map(([k, v]) => [k, v === null ? null : String(v)]);
    if (given.every(([name, value]) => before[name] === value)) {
      return;
    }
    if (push && timer) {
      write(false);
    }
    fields = normal({...before, ...Object.fromEntries(given)});
    if (push) {
      write(true);
    } else if (!timer) {
      timer = setTimeout(() => write(false), 400);
    }
    notify(before);
  },

  /** Call back with the changed names whenever one of `names` (null: any) changed. */
  on(names, callback) {
    const entry = {names, callback};
    listeners.push(entry);
    return () => listeners.splice(listeners.indexOf(entry), 1);
  },

  /** The address of what is seen now. */
  link() {
    return location.href.replace(/#.*$/, "") + format(fields);
  },

  /** The array that is looked at: the view, or its gradient where gradients are switched on. */
  what() {
    const view = fields.view || "y";
    return fields.grad ? GRADIENTS[view] || view.replace(/^param:/, "grad:") : view;
  },

  /** The cell as numbers, or null: [i, j, c] or [k]. */
  cell() {
    return fields.cell === null ? null : fields.cell.split(",").map(Number);
  },
};
