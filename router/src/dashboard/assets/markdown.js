// Markdown of a model as elements: headings, paragraphs, lists, quotations, code, tables and rules. Half a document is one
// too, since it is shown while it is written.

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+\S/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(?=\S)/;
const ROW = /\|/;
const UNDERLINES = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

const indentOf = (line) => line.length - line.trimStart().length;

const headingOf = (line) => {
  const level = line.match(HEADING)[1].length;
  let text = line.trim().slice(level).trim();
  while (text.endsWith("#")) text = text.slice(0, -1);
  return { kind: "heading", level, text: text.trim() };
};

const takeFence = (lines, from) => {
  const [, fence, language] = lines[from].match(FENCE);
  const isEnd = (line) => {
    const end = line.trim();
    return end.length >= fence.length && end === fence[0].repeat(end.length);
  };
  let end = from + 1;
  while (end < lines.length && !isEnd(lines[end])) end += 1;
  return [{ kind: "code", language, text: lines.slice(from + 1, end).join("\n") }, Math.min(end + 1, lines.length)];
};

const takeQuote = (lines, from) => {
  let end = from;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  return [{ kind: "quote", text: lines.slice(from, end).map((line) => line.replace(QUOTE, "")).join("\n") }, end];
};

// An item goes on while lines are empty or further in than its mark.
const takeItem = (lines, from) => {
  const [mark, space] = lines[from].match(ITEM);
  const inner = [lines[from].slice(mark.length)];
  let end = from + 1;
  while (end < lines.length) {
    const line = lines[end];
    const isBlank = line.trim() === "";
    if (isBlank && !(end + 1 < lines.length && indentOf(lines[end + 1]) > space.length && lines[end + 1].trim())) break;
    if (!isBlank && indentOf(line) <= space.length) break;
    inner.push(line.slice(Math.min(indentOf(line), mark.length)));
    end += 1;
  }
  return [inner.join("\n"), end];
};

const takeList = (lines, from) => {
  const [, space, bullet] = lines[from].match(ITEM);
  const isOrdered = /\d/.test(bullet);
  const items = [];
  let at = from;
  while (at < lines.length) {
    const [, indent, mark] = lines[at].match(ITEM) ?? [];
    if (mark === undefined || /\d/.test(mark) !== isOrdered || indent.length < space.length || RULE.test(lines[at])) break;
    const [text, end] = takeItem(lines, at);
    items.push(text);
    at = end;
    // A blank line between two items does not part them.
    if (at + 1 < lines.length && lines[at].trim() === "" && ITEM.test(lines[at + 1])) at += 1;
  }
  return [{ kind: "list", start: isOrdered ? parseInt(bullet, 10) : null, items }, at];
};

const cellsOf = (line) => {
  const cells = line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/);
  return cells.map((cell) => cell.trim().replaceAll("\\|", "|"));
};

const takeTable = (lines, from) => {
  let end = from + 2;
  while (end < lines.length && ROW.test(lines[end]) && lines[end].trim()) end += 1;
  return [{ kind: "table", head: cellsOf(lines[from]), rows: lines.slice(from + 2, end).map(cellsOf) }, end];
};

const isTable = (lines, at) =>
  ROW.test(lines[at]) && UNDERLINES.test(lines[at + 1] ?? "") && cellsOf(lines[at]).length === cellsOf(lines[at + 1]).length;

const begins = (lines, at) =>
  FENCE.test(lines[at]) || HEADING.test(lines[at]) || RULE.test(lines[at]) || QUOTE.test(lines[at]) || ITEM.test(lines[at]) || isTable(lines, at);

const takeParagraph = (lines, from) => {
  let end = from + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines, end)) end += 1;
  return [{ kind: "paragraph", text: lines.slice(from, end).map((line) => line.trim()).join("\n") }, end];
};

const takeBlock = (lines, at) => {
  const line = lines[at];
  if (FENCE.test(line)) return takeFence(lines, at);
  if (HEADING.test(line)) return [headingOf(line), at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (QUOTE.test(line)) return takeQuote(lines, at);
  if (ITEM.test(line)) return takeList(lines, at);
  if (isTable(lines, at)) return takeTable(lines, at);
  return takeParagraph(lines, at);
};

// The blocks of a text, each with the lines that it came from.
const blocksOf = (text) => {
  const lines = text.replaceAll("\r", "").split("\n");
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [block, end] = takeBlock(lines, at);
    blocks.push({ ...block, source: lines.slice(at, end).join("\n") });
    at = end;
  }
  return blocks;
};

const codeElement = ({ language, text }) =>
  make("div", { class: "code" },
    make("div", { class: "code-head" }, make("span", {}, language || "text"), copyButton(() => text, { "aria-label": "Copy this code" })),
    make("pre", { tabindex: "0", role: "region", "aria-label": language ? `Code in ${language}` : "Code" }, make("code", {}, text)));

const tableElement = ({ head, rows }) => {
  const row = (cells, tag, attributes) => make("tr", {}, ...head.map((_, at) => make(tag, attributes, ...inlines(cells[at] ?? ""))));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table" },
    make("table", {}, make("thead", {}, row(head, "th", { scope: "col" })), make("tbody", {}, ...rows.map((cells) => row(cells, "td", {})))));
};

const nested = (text, depth) => (depth >= DEPTH_MAX ? [text] : blocksOf(text).map((block) => blockElement(block, depth + 1)));

// A tight item has its words without a paragraph around them.
const itemElement = (text, depth) => {
  const [first, ...rest] = depth >= DEPTH_MAX ? [] : blocksOf(text);
  if (first?.kind !== "paragraph") return make("li", {}, ...nested(text, depth));
  return make("li", {}, ...inlines(first.text), ...rest.map((block) => blockElement(block, depth + 1)));
};

const listElement = ({ start, items }, depth) => {
  const made = items.map((item) => itemElement(item, depth));
  return start === null ? make("ul", {}, ...made) : make("ol", { start: start === 1 ? null : start }, ...made);
};

const blockElement = (block, depth = 0) => {
  switch (block.kind) {
    case "code": return codeElement(block);
    // One level for all: an answer is no chapter of the page.
    case "heading": return make("h4", { class: `level-${block.level}` }, ...inlines(block.text));
    case "rule": return make("hr");
    case "quote": return make("blockquote", {}, ...nested(block.text, depth));
    case "list": return listElement(block, depth);
    case "table": return tableElement(block);
    default: return make("p", {}, ...inlines(block.text));
  }
};

const sources = new WeakMap();

// Shows a text that grows: blocks that are as they were stay, with what is selected in them.
const showMarkdown = (parent, text) => {
  const blocks = blocksOf(text);
  blocks.forEach((block, at) => {
    const old = parent.children[at];
    if (old && sources.get(old) === block.source) return;
    const fresh = blockElement(block);
    sources.set(fresh, block.source);
    if (old) old.replaceWith(fresh);
    else parent.append(fresh);
  });
  while (parent.children.length > blocks.length) parent.lastElementChild.remove();
};
