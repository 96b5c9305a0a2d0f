/** What outlasts a reload of the page: its session, for a tour that has a model of its own. */

import {state} from "nanocnn/state.js";

const KEPT = "nanocnn-explore";

/** The tour of the address, if it is one of `tours`, those with a model of their own; else null. */
export function tourIn(tours = []) {
  const name = (state.get("tour") || "").split(":")[0];
  return tours.includes(name) ? name : null;
}

/** Load the page again, and go on in this session. */
export function reload(session, tours) {
  sessionStorage.setItem(KEPT, JSON.stringify({session, tours}));
  location.reload();
}

/** {session, tours} of before the reload, once; or null. */
export function kept() {
  const found = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  sessionStorage.removeItem(KEPT);
  return found;
}
