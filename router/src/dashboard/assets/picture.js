// The cluster as a picture: nodes are text in boxes, links are lines between them.

const LABELS_MAX = 4;

// A node that is down does not say who it is; who it was is remembered.
const names = new Map();
const nameOf = (node) => {
  if (node.node?.id) names.set(node.address, node.node.id);
  return names.get(node.address) ?? node.address;
};

// How full the KV pool is: in bytes where the node says them, else in blocks.
const poolOf = (load) => {
  const { kv_bytes_used: used, kv_bytes_total: total, kv_blocks_used: blocks, kv_blocks_total: blocksTotal } = load ?? {};
  if (total) return { share: used / total, text: `KV ${words.bytes(used)} of ${words.bytes(total)}, ${words.percent(used / total)}` };
  return blocksTotal ? { share: blocks / blocksTotal, text: `KV ${words.percent(blocks / blocksTotal)}` } : null;
};

const stateOf = (node) => (node.unusable === null ? "up" : node.state === "up" ? "idle" : "down");

const makeNode = () =>
  make("li", { class: "node" },
    make("div", { class: "who" }, make("span", { class: "mark", "aria-hidden": "true" }), make("strong")),
    make("p", { class: "load" }),
    make("div", { class: "pool" }, make("div", { class: "track", "aria-hidden": "true" }, make("div", { class: "fill" })), make("span")),
    make("p", { class: "found" }));

const updateNode = (item, node) => {
  const state = stateOf(node);
  const load = node.node?.load;
  const pool = poolOf(load);
  item.dataset.state = state;
  item.title = [node.address, node.node?.version && `version ${node.node.version}`, node.node?.plan && `plan ${node.node.plan}`]
    .filter(Boolean).join(", ");
  say(item.querySelector("strong"), nameOf(node));
  const given = load?.preemptions ? `, ${words.count(load.preemptions)} gave way` : "";
  const busy = load ? `${words.count(load.running)} running, ${words.count(load.waiting)} waiting${given}` : "";
  const why = { up: busy, idle: `Not used: ${node.unusable}`, down: `Down: ${node.unusable}` }[state];
  say(item.querySelector(".load"), why);
  item.querySelector(".pool").hidden = pool === null;
  if (pool) {
    item.querySelector(".fill").style.width = `${Math.min(100, pool.share * 100)}%`;
    item.querySelector(".pool").dataset.full = pool.share >= 0.9 ? "yes" : "no";
    say(item.querySelector(".pool span"), pool.text);
  }
  item.querySelector(".found").hidden = !load?.prefix_queries;
  if (load?.prefix_queries) say(item.querySelector(".found"), `Prefix hits: ${words.percent(load.prefix_hits / load.prefix_queries)}`);
};

// A role without nodes, and names behind which nobody is found.
const showAbsent = (role, nodes, names) => {
  const unfound = names.filter((name) => name.role === role && name.failure).map((name) => `${name.name}: ${name.failure}`);
  const text = unfound.join("; ") || (nodes.length ? "" : "No node");
  byId(`${role}-absent`).hidden = !text;
  say(byId(`${role}-absent`), text);
};

const showNodes = (view) => {
  for (const role of ["prefill", "decode"]) {
    const nodes = view.nodes.filter((node) => node.role === role);
    keep(byId(`${role}-nodes`), nodes, (node) => node.address, makeNode, updateNode);
    showAbsent(role, nodes, view.names ?? []);
  }
  const { running, waiting } = view.requests;
  say(byId("router-load"), `${words.count(running)} running, ${words.count(waiting)} waiting`);
};

const middle = (box, frame, side) => ({
  x: (side === "right" ? box.right : side === "left" ? box.left : (box.left + box.right) / 2) - frame.left,
  y: (side === "bottom" ? box.bottom : side === "top" ? box.top : (box.top + box.bottom) / 2) - frame.top,
});

// A shipment runs from left to right; the line is as thick as its share of what goes over all links now.
const wire = (from, to, link, flows, isWhole) => {
  const bend = Math.max(16, (to.x - from.x) / 2);
  const path = `M${from.x} ${from.y}C${from.x + bend} ${from.y} ${to.x - bend} ${to.y} ${to.x} ${to.y}`;
  const share = flows > 0 && link ? link.flow / flows : 0;
  const kind = !isWhole ? "wire gone" : share > 0 ? "wire moving" : link ? "wire used" : "wire";
  return draw("path", { d: path, class: kind, "stroke-width": share > 0 ? (1.5 + 4.5 * share).toFixed(1) : null });
};

const showWires = (view, links) => {
  const frame = byId("picture").getBoundingClientRect();
  const svg = byId("wires");
  svg.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  const boxes = (role) => [...byId(`${role}-nodes`).children].map((item) => ({
    address: item.dataset.key, state: item.dataset.state, box: item.getBoundingClientRect(),
  }));
  const [prefill, decode] = [boxes("prefill"), boxes("decode")];
  const flows = links.reduce((sum, link) => sum + link.flow, 0);
  const linkOf = (p, d) => links.find((link) => link.prefill === p.address && link.decode === d.address);
  const [lines, labels] = [[], []];
  const router = byId("router-card").getBoundingClientRect();
  for (const list of [prefill, decode]) {
    if (!list.length) continue;
    const [from, to] = [middle(router, frame, "bottom"), middle(list[0].box, frame, "top")];
    const head = list[0].box.top - frame.top - 26;
    lines.push(draw("path", { class: "order", d: `M${from.x} ${from.y}V${(from.y + head) / 2}H${to.x}V${head}` }));
  }
  for (const p of prefill) {
    for (const d of decode) {
      const link = linkOf(p, d);
      const isWhole = p.state === "up" && d.state === "up";
      if (!link && !isWhole) continue;
      const [from, to] = [middle(p.box, frame, "right"), middle(d.box, frame, "left")];
      lines.push(wire(from, to, link, flows, isWhole));
      const isLabelled = isWhole && link?.flow > 0 && links.length <= LABELS_MAX && to.x - from.x > 150;
      if (isLabelled) labels.push(label(from, to, words.rate(link.flow)));
    }
  }
  svg.replaceChildren(...lines, ...labels);
};

// Level lines have their label in the middle; others before it, where those that cross are apart.
const label = (from, to, text) => {
  const t = Math.abs(to.y - from.y) < 8 ? 0.5 : 0.36;
  const [along, across] = [1.5 * t * (1 - t) + t ** 3, 3 * t ** 2 - 2 * t ** 3];
  const [x, y] = [from.x + (to.x - from.x) * along, from.y + (to.y - from.y) * across - 6];
  return draw("text", { class: "rate", x: x.toFixed(1), y: y.toFixed(1) }, text);
};

let lastPicture = null;

const showPicture = (view, links) => {
  showNodes(view);
  showWires(view, links);
  lastPicture = [view, links];
};

new ResizeObserver(() => lastPicture && showWires(...lastPicture)).observe(byId("picture"));
