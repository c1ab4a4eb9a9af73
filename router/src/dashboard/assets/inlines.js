// Markdown within a line, as text nodes and elements. One pass from left to right; a mark without its partner is text.

const DEPTH_MAX = 8;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}_]/u;

// Only addresses of the web become links: a model's `javascript:` or `data:` stays text.
const webAddress = (target) => {
  try {
    const url = new URL(target);
    return ["http", "https"].includes(url.protocol.slice(0, -1)) ? url.href : null;
  } catch {
    return null;
  }
};

const linkTo = (target, label) => {
  const href = webAddress(target);
  if (!href) return [...label, ` (${target})`];
  return [make("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", title: href }, ...label)];
};

const runLength = (text, from) => {
  let end = from;
  while (text[end] === text[from]) end += 1;
  return end - from;
};

const codeSpan = (text, from) => {
  const length = runLength(text, from);
  for (let at = text.indexOf("`", from + length); at >= 0; ) {
    const found = runLength(text, at);
    if (found === length) return { nodes: [make("code", {}, text.slice(from + length, at).trim() || " ")], end: at + found };
    at = text.indexOf("`", at + found);
  }
  return { nodes: [text.slice(from, from + length)], end: from + length };
};

// The end of a part in brackets that opens at `from`, nested ones included.
const closing = (text, from, open, close) => {
  for (let at = from, depth = 0; at < text.length && at - from < 2000; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === open) depth += 1;
    else if (text[at] === close) {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return -1;
};

// A picture becomes a link as well: the page loads nothing from elsewhere.
const link = (text, from, depth) => {
  const start = text[from] === "!" ? from + 1 : from;
  const labelEnd = closing(text, start, "[", "]");
  if (labelEnd < 0 || text[labelEnd + 1] !== "(") return null;
  const end = closing(text, labelEnd + 1, "(", ")");
  if (end < 0) return null;
  const [target] = text.slice(labelEnd + 2, end).trim().split(/\s+/);
  const label = inlines(text.slice(start + 1, labelEnd), depth + 1);
  return { nodes: linkTo(target.replace(/^<|>$/g, ""), label.length ? label : [target]), end: end + 1 };
};

const bareLink = (text, from) => {
  if (from > 0 && WORD.test(text[from - 1])) return null;
  const [found] = text.slice(from, from + 2000).match(/^https?:\/\/[^\s<>"'`]+/) ?? [];
  if (!found) return null;
  // What ends the sentence, or the bracket around it, is no part of the address.
  let address = found.replace(/[.,;:!?*_~]+$/, "");
  if (address.endsWith(")") && !address.includes("(")) address = address.slice(0, -1);
  return { nodes: linkTo(address, [address]), end: from + address.length };
};

const STRESSES = [["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];

const partner = (text, from, mark) => {
  for (let at = text.indexOf(mark, from); at >= 0; at = text.indexOf(mark, at + 1)) {
    if (mark.length === 1 && text[at + 1] === mark) {
      at += 1;
      continue;
    }
    if (at === from || /\s/.test(text[at - 1]) || text[at - 1] === "\\") continue;
    if (mark[0] === "_" && WORD.test(text[at + mark.length] ?? "")) continue;
    while (mark.length === 2 && text[at + 2] === mark[0]) at += 1;
    return at;
  }
  return -1;
};

// `lost`: marks without a partner in the rest, so that each is looked for once.
const stress = (text, from, depth, lost) => {
  if (text[from] === "_" && WORD.test(text[from - 1] ?? "")) return null;
  for (const [mark, tag] of STRESSES) {
    const begin = from + mark.length;
    if (!text.startsWith(mark, from) || lost.has(mark) || /\s/.test(text[begin] ?? " ")) continue;
    const end = partner(text, begin, mark);
    if (end >= 0) return { nodes: [make(tag, {}, ...inlines(text.slice(begin, end), depth + 1))], end: end + mark.length };
    lost.add(mark);
  }
  return null;
};

const special = (text, at, depth, lost) => {
  switch (text[at]) {
    case "\n": return { nodes: [make("br")], end: at + 1 };
    case "\\": return ESCAPABLE.test(text[at + 1] ?? "") ? { nodes: [text[at + 1]], end: at + 2 } : null;
    case "`": return codeSpan(text, at);
    case "!": return text[at + 1] === "[" ? link(text, at, depth) : null;
    case "[": return link(text, at, depth);
    case "h": return bareLink(text, at);
    case "*": case "_": case "~": return stress(text, at, depth, lost);
    default: return null;
  }
};

const inlines = (text, depth = 0) => {
  if (depth >= DEPTH_MAX) return [text];
  const nodes = [];
  const lost = new Set();
  let plain = "";
  for (let at = 0; at < text.length; ) {
    const found = special(text, at, depth, lost);
    if (!found) {
      plain += text[at];
      at += 1;
      continue;
    }
    if (plain) nodes.push(plain);
    plain = "";
    nodes.push(...found.nodes);
    at = found.end;
  }
  return plain ? [...nodes, plain] : nodes;
};
