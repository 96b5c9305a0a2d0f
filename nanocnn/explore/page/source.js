/** Where the numbers come from: requests to the server, or the data inside a saved page. */

import {state} from "nanocnn/state.js";
import {kept, reload, tourIn} from "nanocnn/resume.js";
import {base64, base64url, bytes, covering, inner, saved, unpack} from "nanocnn/packed.js";

const CHANGES = ["digit", "label", "mode", "edit", "undo", "reset", "scrub"];
const QUIET = ["state", "run"]; // polls: what is in view does not wait for them
const listeners = {};
const stored = await saved();
let cache = new Map();
let waiting = [];
let session = "";
let sent = {};
let pending = 0;
const watched = [];
let lost = false;
let starting = null;

/** An error of the server, in words for the reader; `status` 0 if it was not reached. */
export class ServerError extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

const emit = (name, value) => (listeners[name] || []).forEach((callback) => callback(value));

/** Count calls in flight; `ready` on the root says that all in view is of `version`. */
function busy(change) {
  pending += change;
  const root = document.documentElement;
  if (pending) {
    root.dataset.ready = "0";
    return;
  }
  setTimeout(() => {
    if (!pending && source.info.version !== undefined) {
      root.dataset.version = source.info.version;
      root.dataset.ready = "1";
    }
  });
}

/** One request and its answer {result, arrays}; ServerError for all that goes wrong. */
async function send(action, body) {
  const raw = body instanceof Blob;
  const headers = {"Content-Type": raw ? "application/octet-stream" : "application/json"};
  if (action !== "session") {
    headers["X-Session"] = session;
  }
  let response;
  let content;
  try {
    response = await fetch(`api/${action}`, {
      method: "POST", headers, body: raw ? body : JSON.stringify(body),
      cache: "no-store", signal: AbortSignal.timeout(120000),
    });
    content = await response.arrayBuffer();
  } catch {
    disappear();
    throw new ServerError("The server does not answer.", 0);
  }
  if (!response.ok) {
    throw new ServerError(reason(content, response.status), response.status);
  }
  return unpack(content);
}

/** All that is in view, each once. */
function watchedRequests() {
  const all = watched.flatMap((requests) => requests());
  return [...new Map(all.map((request) => [JSON.stringify(request), request])).values()];
}

function reason(content, status) {
  try {
    return JSON.parse(new TextDecoder().decode(content)).error || `Error ${status}`;
  } catch {
    return `The server answered with error ${status}.`;
  }
}

function disappear() {
  if (!lost && source.model) {
    lost = true;
    emit("lost");
  }
}

/** Take over the state in an answer; tells of a new version. */
function adopt(result, arrays = []) {
  if (result.running !== undefined) {
    source.running = Boolean(result.running);
  }
  const {info} = source;
  if (result.prediction === undefined || (info.version ?? -1) > result.version) {
    return;
  }
  const isNew = info.version !== result.version;
  source.info = {...info, ...result};
  sent.label = result.label ?? null;
  sent.training = result.training ? 1 : null;
  mirror();
  if (isNew) {
    cache = new Map();
  }
  for (const [request, array] of arrays) {
    cache.set(JSON.stringify(request), Promise.resolve(array));
  }
  if (isNew) {
    emit("change", source.info);
  }
  if (info.training !== undefined && info.training !== result.training) {
    describeAgain().catch((error) => emit("error", error));
  }
}

/** Formulas depend on the mode. */
async function describeAgain() {
  const {model} = await source.call("describe");
  source.model.layers.forEach((layer, i) => Object.assign(layer, model.layers[i]));
  emit("change", source.info);
}

/** The address says what the server has. */
function mirror() {
  const {digit} = source.info;
  const known = digit && digit.kind === "test" ? `test:${digit.index}` : sent.digit;
  sent.digit = known ?? null;
  state.set({digit: sent.digit, label: sent.label, training: sent.training});
}

/** What the address asks for and the server has not. */
async function follow() {
  try {
    await bring();
  } catch (error) {
    mirror();
    throw error;
  }
}

async function bring() {
  const [digit, label, training] = ["digit", "label", "training"].map((name) => state.get(name));
  const text = (value) => (value === null || value === undefined ? null : String(value));
  if (source.static || !session) {
    return;
  }
  if (digit !== text(sent.digit) && digit !== null) {
    await source.call("digit", {...digitBody(digit), ...(label && {label: Number(label)})});
  } else if (label !== text(sent.label) && label !== null) {
    await source.call("label", {label: Number(label)});
  }
  if (training !== text(sent.training)) {
    await source.call("mode", {training: training === "1", seed: 0});
  }
}

function digitBody(text) {
  if (text.startsWith("test:")) {
    return {test: Number(text.slice(5))};
  }
  return {pixels: base64(bytes(text.slice(2)))};
}

/** The session of before a reload, or a new one; with the model of the address's tour, if any. */
async function open() {
  const before = kept();
  if (before) {
    session = before.session;
    const again = await send("tour", {name: tourIn(before.tours)}).catch(() => null);
    if (again) {
      return again;
    }
  }
  const made = await send("session", {});
  session = made.result.id;
  const name = tourIn(made.result.tours);
  return name ? send("tour", {name}) : made;
}

async function newSession() {
  const wanted = ["digit", "label", "training"].map((name) => [name, state.get(name)]);
  const {result} = stored ? stored : await open();
  sent = {};
  source.info = {};
  Object.assign(source, {model: result.model, session: result});
  adopt(result);
  if (!stored) {
    const [[, digit]] = wanted; // one without a label brings its own
    state.set(Object.fromEntries(wanted.filter(([name, value]) =>
      value !== null || (name === "label" && digit !== null))));
    await follow().catch((error) => emit("error", error));
  }
  return result;
}

/** Answer all array requests of this moment by one call. */
async function flush() {
  const asked = waiting;
  waiting = [];
  const requests = asked.map(({request}) => request);
  try {
    const {arrays} = await source.call("arrays", {}, requests);
    asked.forEach(({resolve}, i) => resolve(arrays[i]));
  } catch (error) {
    if (asked.length === 1 || error.status !== 400) {
      asked.forEach(({reject}) => reject(error));
      return;
    } // else one that is refused must not hide the others
    for (const {request, resolve, reject} of asked) {
      await source.call("arrays", {}, [request]).then((r) => resolve(r.arrays[0]), reject);
    }
  }
}

async function poll() {
  if (lost) {
    await source.start().then(() => emit("back"), () => {});
  } else if (!document.hidden && !pending) {
    await source.call("state", {}).catch(() => {});
  }
  // A session of a script's fit gets other weights once a second.
  setTimeout(poll, lost || source.live ? 1000 : source.running ? 400 : 2000);
}

export const source = {
  static: Boolean(stored),
  model: null, // the description of the model
  info: {}, // the latest state of the session: version, label, prediction, loss, ...
  session: null,
  isLabelChosen: false, // by the reader: it stays with the next strokes
  running: false, // a training runs: the version goes up by itself
  live: false,

  /** Make a session, bring the address's digit, label and mode to it; what the server says. */
  async start() {
    starting ??= newSession().finally(() => {
      starting = null;
    });
    const result = await starting;
    lost = false;
    source.live = Boolean(result.live);
    if (!stored && !source.polls) {
      source.polls = true;
      setTimeout(poll, 2000);
      state.on(["digit", "label", "training"], () => {
        follow().catch((error) => emit("error", error));
      });
    }
    return result;
  },

  /** Do an action; {...result, arrays: [{data, shape, whole, fullShape}]}. Errors: ServerError. */
  async call(action, body = {}, requests = []) {
    if (stored) {
      busy(1);
      return stored.call(action, body, requests).finally(() => busy(-1));
    }
    const raw = body instanceof Blob;
    const extra = CHANGES.includes(action) ? watchedRequests() : [];
    const all = [...requests, ...extra];
    const loud = !QUIET.includes(action);
    busy(loud ? 1 : 0);
    try {
      const asked = raw || !all.length ? body : {...body, arrays: all};
      const {result, arrays} = await send(action, asked);
      if (action === "digit" || action === "image") {
        const {data} = arrays.at(-1);
        sent.digit = body.test === undefined ? `d:${base64url(data)}` : `test:${body.test}`;
        source.pixels = arrays.at(-1);
      }
      if (action === "arrays") {
        await catchUp(result.version);
      } else {
        adopt(result, all.map((request, i) => [request, arrays[i]]));
      }
      const own = [...arrays.slice(0, requests.length), ...arrays.slice(all.length)];
      return {...result, arrays: own};
    } catch (error) {
      if (error.status === 410 && action !== "session") {
        restart();
      }
      throw error;
    } finally {
      busy(loud ? -1 : 0);
    }
  },

  /** An array of the current version: a promise of {data, shape, whole, fullShape}. */
  array(request) {
    const key = JSON.stringify(request);
    const whole = cache.has(key) ? null : covering(cache, request);
    if (whole) {
      cache.set(key, whole.then((array) => (array.missing ? array : inner(array, request))));
    }
    if (!cache.has(key)) {
      const promise = new Promise((resolve, reject) => {
        waiting.push({request, resolve, reject});
      });
      promise.catch(() => cache.delete(key));
      cache.set(key, promise);
      if (waiting.length === 1) {
        queueMicrotask(flush);
      }
    }
    return cache.get(key);
  },

  /** `requests()` are answered with every call that changes the state, in one go. */
  watch(requests) {
    watched.push(requests);
  },

  /** Load the page again if the address's tour has another model; whether it does. */
  followTour() {
    const {tours, tour} = source.session;
    const isOther = !stored && tourIn(tours) !== (tour ?? null);
    if (isOther) {
      reload(session, tours);
    }
    return isOther;
  },

  /** What is in view is ready only after this promise. */
  wait(promise) {
    busy(1);
    promise.finally(() => busy(-1));
  },

  /** "change": a new version; "lost", "back": the server; "error": of what was not asked for. */
  on(name, callback) {
    (listeners[name] ||= []).push(callback);
  },
};

/** The server is there, but no longer knows this session. */
async function restart() {
  await source.start().then(() => emit("back"), () => {});
}

/** Arrays of a version that is not known yet: ask for the state. */
async function catchUp(version) {
  const isFollowed = source.running || source.live; // by the poll, not by each answer
  if (version > source.info.version && !isFollowed) {
    await source.call("state", {}).catch(() => {});
  }
}
