// Asks the router how things are, once a second while somebody looks, and shows the answer.

const EVERY_MS = 1000;
const PATIENCE_MS = 4000;
const RECENT_MAX = 50;
const page = { recent: [], started: null, seen: null, timer: 0, isAsking: false, positionsMax: null };

const showState = (state, text) => {
  byId("state").dataset.state = state;
  say(byId("state-text"), text);
};

const newer = (view) => {
  if (page.started !== view.started) page.recent = [];
  page.started = view.started;
  const last = page.recent.at(-1)?.number ?? 0;
  page.recent.push(...view.recent.filter((request) => request.number > last));
  page.recent = page.recent.slice(-RECENT_MAX);
};

const show = (view) => {
  const down = view.nodes.filter((node) => node.unusable !== null);
  const state = view.ready ? (down.length ? "part" : "up") : "down";
  showState(state, {
    up: "Ready",
    part: `Ready; ${words.plural(down.length, "node is", "nodes are")} missing`,
    down: `Not ready: ${view.reason}`,
  }[state]);
  say(byId("model"), view.model);
  newer(view);
  document.body.dataset.known = "yes";
  const limits = view.nodes.map((node) => node.node?.max_positions).filter(Boolean);
  page.positionsMax = limits.length ? Math.min(...limits) : page.positionsMax;
  const now = performance.now();
  const links = linksOf(view, now);
  const nameAt = (address) => nameOf(view.nodes.find((node) => node.address === address) ?? { address });
  showTakes(view);
  showFacts(view);
  showTiles(view, now);
  showPicture(view, links);
  showSaved(view.totals, view.window);
  showTroubles(view);
  showLatency(view);
  showLinks(links, nameAt);
  showRequests(page.recent);
};

const lost = () => {
  const since = page.seen ? `; last heard of at ${words.time(page.seen)}` : "";
  showState("down", `The router does not answer${since}`);
};

// The router's view of the cluster; null where it does not answer, or asks for a key.
const look = async (after) => {
  try {
    const response = await fetch(`v1/cluster?recent_after=${after}`, {
      headers: keyHeader(), cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (response.status === 401) {
      showState("down", "An API key is needed");
      wantKey();
      return null;
    }
    if (response.ok) return await response.json();
  } catch {
    // It cannot be reached, is too slow, or something else answers in its place.
  }
  lost();
  return null;
};

const round = async () => {
  clearTimeout(page.timer);
  if (document.hidden || page.isAsking) return;
  page.isAsking = true;
  try {
    const after = page.recent.at(-1)?.number ?? 0;
    const view = await look(after);
    if (!view) return;
    page.seen = Date.now();
    // Another router than before may have counted past the number that was asked for.
    const isOther = page.started !== null && page.started !== view.started && after > 0;
    if (isOther) Object.assign(page, { recent: [], started: null });
    else show(view);
  } finally {
    page.isAsking = false;
    page.timer = setTimeout(round, EVERY_MS);
  }
};

const soon = () => {
  clearTimeout(page.timer);
  page.timer = setTimeout(round, 100);
};

document.addEventListener("visibilitychange", round);

setQuestion(byId("question").value);
showKeep();
showCompare();
round();
