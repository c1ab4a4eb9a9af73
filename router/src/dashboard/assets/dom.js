// Elements are made and filled by these alone. Text is always text: nothing that a user or a node supplies is parsed.

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

const filled = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};

const make = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

// Writes only what changed, so that selections and screen readers are left in peace.
const say = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

// One element for each item by its key, in order; those that stay are updated, not made again.
const keep = (parent, items, keyOf, create, update) => {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    const child = known.get(key) ?? create(item);
    known.delete(key);
    child.dataset.key = key;
    update(child, item);
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
  }
  for (const gone of known.values()) gone.remove();
};
