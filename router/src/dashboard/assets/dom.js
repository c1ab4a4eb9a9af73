// Elements are made and filled by these alone. Text is always text: nothing that a user, a node or a model supplies is parsed.

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

const button = (text, act, attributes = {}) => {
  const made = make("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", act);
  return made;
};

// Names and their values, as a description list.
const pairs = (entries, attributes = {}) =>
  make("dl", attributes, ...entries.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));

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

// Where the page is not served over TLS or from this machine, browsers have only the old way to copy.
const copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
    const focused = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return isCopied;
  }
};

const copyButton = (textOf, attributes = {}) => {
  const made = button("Copy", async () => {
    say(made, (await copy(textOf())) ? "Copied" : "Not allowed here");
    setTimeout(() => say(made, "Copy"), 1500);
  }, { class: "small", ...attributes });
  return made;
};
