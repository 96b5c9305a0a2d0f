/** Elements of the page. */

/** A new element with properties; `data` are its data attributes. */
export function make(tag, {data = {}, ...properties} = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}
