/** Small makers of elements for the panels. */

/** An element: attributes by name, listeners as on... functions, children nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button with an id and what it does. */
export function button(id, text, action, attributes = {}) {
  return el("button", {type: "button", id, onclick: action, ...attributes}, text);
}

/** A control with its label before it, as one unit that does not break. */
export function labelled(text, control, after = null) {
  return el("span", {class: "field"}, el("label", {for: control.id}, text), control, after);
}

/** A select of [value, text] pairs or plain words. */
export function choice(id, options, action) {
  const select = el("select", {id, onchange: action});
  fill(select, options);
  return select;
}

/** Replaces a select's options where they differ; keeps the chosen value where it can. */
export function fill(select, options) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  const key = JSON.stringify(pairs);
  if (select.dataset.options === key) {
    return;
  }
  const chosen = select.value;
  select.dataset.options = key;
  select.replaceChildren(...pairs.map(([value, text]) => el("option", {value}, text)));
  if (pairs.some(([value]) => String(value) === chosen)) {
    select.value = chosen;
  }
}

/** A heading with its content, as one part of a panel. */
export function part(id, title, ...children) {
  return el("section", {class: "part", id, "aria-labelledby": `${id}-title`},
    el("h3", {id: `${id}-title`}, title), ...children);
}

/** Sets text only where it changed, so that nothing is laid out or read out again. */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Calls `action` once, `wait` ms after the last of many calls. */
export function debounced(action, wait) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), wait);
  };
}

/** Calls `action` at the next picture on the screen, once for many calls. */
export function soon(action) {
  let waiting = false;
  return () => {
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        action();
      });
    }
  };
}

/** Arrow keys as steps [down, right]. */
export const ARROWS = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
};

/** Whether the element is laid out (its panel is open). */
export function inView(element) {
  return element.getClientRects().length > 0;
}
