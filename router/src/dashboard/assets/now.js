// What the cluster does at this moment, and what it is.

const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
const listed = (counts, name) =>
  Object.entries(counts).sort((one, other) => other[1] - one[1]).map(([key, count]) => `${words.count(count)} × ${name(key)}`).join(", ");

const tokensTile = (view, now, slots) => {
  const rates = slotRates(slots, slots.generation_tokens);
  const rate = growth("tokens", view.totals.generation_tokens, now, RATE_MS) ?? rates.at(-2) ?? 0;
  return { value: `${words.number(rate)}/s`, note: `generated; ${words.count(view.totals.generation_tokens)} in all`,
    chart: { values: rates, shown: (value) => `${words.number(value)}/s` } };
};

const bytesTile = (view, now, slots) => {
  const rates = slotRates(slots, slots.bytes_sent);
  const rate = growth("bytes", view.totals.bytes.sent, now, RATE_MS) ?? rates.at(-2) ?? 0;
  return { value: words.rate(rate), note: `of KV; ${words.bytes(view.totals.bytes.sent)} in all`, chart: { values: rates, shown: words.rate } };
};

const workTile = (view, _, slots) => {
  const { running, waiting } = view.requests;
  const left = view.window.aborted ? `, ${words.count(view.window.aborted)} broken off` : "";
  return { value: `${words.count(running)} running`, note: `${words.count(waiting)} waiting; ${words.plural(view.window.answers, "answer", "answers")} in 10 min${left}`,
    chart: { values: slots.answers, shown: (value) => words.plural(value, "answer", "answers") } };
};

const failuresTile = (view, _, slots) => {
  const failures = view.window.errors.cluster;
  return { value: words.count(sum(failures)), note: sum(failures) ? listed(failures, words.code) : "in 10 minutes", isAlarm: sum(failures) > 0,
    chart: { values: slots.failures, shown: (value) => words.plural(value, "failure", "failures") } };
};

const TILES = [["tokens", "Tokens", tokensTile], ["bytes", "Shipped", bytesTile], ["running", "At work", workTile], ["failures", "Failures", failuresTile]];

const makeTile = ([key, name]) =>
  make("div", { class: "tile" }, make("h3", {}, name), make("p", { class: "value", id: key }), make("p", { class: "note", id: `${key}-note` }), makeChart());

const showTiles = (view, now) => {
  const { slots } = view.window;
  keep(byId("tiles"), TILES, ([key]) => key, makeTile, (tile, [key, name, of]) => {
    const { value, note, chart, isAlarm } = of(view, now, slots);
    say(tile.querySelector(".value"), value);
    say(tile.querySelector(".note"), note);
    tile.dataset.alarm = isAlarm ? "yes" : "no";
    showChart(tile.querySelector(".chart"), { name, slots, ...chart });
  });
};

// One word where all nodes agree, else what each says.
const ofNodes = (view, of) => [...new Set(view.nodes.map((node) => node.node && of(node.node)).filter(Boolean))].join(" and ");

const factsOf = (view) => {
  const versions = ofNodes(view, (node) => node.version);
  const isOne = !versions || versions === view.version;
  return [
    ["Model", view.root && view.root !== view.model ? `${view.model} (${view.root})` : view.model],
    ["KV", ofNodes(view, (node) => node.kv_dtype)],
    ["Plan", ofNodes(view, (node) => node.plan && node.plan.slice(0, 12)) || "none"],
    ["Context", page.positionsMax ? words.plural(page.positionsMax, "position", "positions") : ""],
    ["Placement", view.placement],
    ["Version", isOne ? view.version : `router ${view.version}, nodes ${versions}`],
    ["Up", words.duration(view.uptime_s)],
  ].filter(([, value]) => value);
};

const showFacts = (view) => {
  const create = ([name]) => make("div", {}, make("dt", {}, name), make("dd"));
  keep(byId("facts"), factsOf(view), ([name]) => name, create, (fact, [, value]) => say(fact.lastElementChild, value));
};
