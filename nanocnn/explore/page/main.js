/** Start: a session, then the parts; messages, tabs, and what happens when the server is gone. */

import {state} from "nanocnn/state.js";
import {source} from "nanocnn/source.js";
import {count} from "nanocnn/numbers.js";
import {say} from "nanocnn/message.js";
import * as network from "nanocnn/network.js";
import * as zoom from "nanocnn/zoom.js";
import * as draw from "nanocnn/draw.js";

const FIRST = {draw, network, zoom};
const PARTS = { // fetched while the session is made
  "panel-cell": () => import("nanocnn/cell.js"), help: () => import("nanocnn/keyboard.js"),
  "panel-edit": () => import("nanocnn/edit.js"), "panel-train": () => import("nanocnn/train.js"),
  "panel-tour": () => import("nanocnn/tours.js"),
};
const ONLY_LIVE = ["edit", "train"]; // panels that a saved page has not
const PANELS = ["cell", "edit", "train", "tour"]
  .filter((name) => !source.static || !ONLY_LIVE.includes(name));
const $ = (id) => document.getElementById(id);

function header() {
  const {name, parameters, dtype, kernels} = source.model;
  document.title = `${name} · nanocnn explore`;
  $("model-name").textContent = name;
  $("model-about").textContent =
    `${count(parameters)} parameters, ${dtype}, ${kernels} kernels`;
}

/** Tabs as in the ARIA practices: arrows move, one tab stop. */
function tabs() {
  const buttons = PANELS.map((name) => $(`tab-${name}`));
  ONLY_LIVE.forEach((name) => {
    $(`tab-${name}`).hidden = source.static;
  });
  const show = () => {
    const panel = state.get("panel") === "weights" ? "cell" : state.get("panel");
    const open = PANELS.includes(panel) ? panel : "cell";
    PANELS.forEach((name, i) => {
      buttons[i].setAttribute("aria-selected", name === open);
      buttons[i].tabIndex = name === open ? 0 : -1;
      $(`panel-${name}`).hidden = name !== open;
    });
  };
  buttons.forEach((button, i) => {
    button.addEventListener("click", () => state.set({panel: PANELS[i]}, {push: true}));
    button.addEventListener("keydown", (event) => {
      const move = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (move) {
        event.preventDefault();
        event.stopPropagation();
        const next = buttons[(i + move + buttons.length) % buttons.length];
        next.focus();
        next.click();
      }
    });
  });
  state.on(["panel"], show);
  show();
}

function gradients() {
  const buttons = [...document.querySelectorAll("#switch button")];
  const show = () => {
    for (const button of buttons) {
      button.setAttribute("aria-pressed", button.dataset.grad === (state.get("grad") || ""));
    }
    document.documentElement.classList.toggle("gradients", Boolean(state.get("grad")));
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      state.set({grad: button.dataset.grad || null}, {push: true});
    });
  }
  state.on(["grad"], show);
  show();
}

function connection() {
  const banner = $("banner");
  source.on("lost", () => {
    banner.textContent = "The server has stopped. The page comes back when it runs again at this "
      + "address; what you see is the last answer.";
    banner.hidden = false;
    document.body.classList.add("lost");
  });
  source.on("back", () => {
    banner.hidden = true;
    document.body.classList.remove("lost");
    say("Connected again. Digit and label were sent again; changed weights start anew.");
  });
  source.on("error", (error) => say(error.message, true));
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(state.link());
    say("The address of this view is in the clipboard.");
  } catch {
    say("Copy the address from the browser's address bar: it holds this view.");
  }
}

async function start() {
  connection();
  const parts = Object.entries(PARTS).map(([id, load]) => [id, load()]);
  while (!source.model) {
    await source.start().catch((error) => {
      say(error.message, true);
      return new Promise((resolve) => setTimeout(resolve, 2000));
    });
  }
  header();
  tabs();
  gradients();
  $("copy-link").addEventListener("click", copyLink);
  for (const [id, part] of [...Object.entries(FIRST), ...parts]) {
    try {
      await (await part).mount($(id)); // the network has chosen a cell when the panels come
    } catch (error) { // one part must not take the others with it
      console.error(error);
      say(`${id}: ${error.message}`, true);
    }
  }
}

addEventListener("unhandledrejection", ({reason}) => {
  if (reason?.status !== undefined) { // an answer that nobody waited for; the banner tells the rest
    say(reason.message, true);
  }
});
source.wait(start());
