// Asks the router how things are, once a second while somebody looks, and shows the answer.

const EVERY_MS = 1000;
const PATIENCE_MS = 4000;
const RECENT_MAX = 50;
const page = { recent: [], started: null, seen: null, timer: 0, isAsking: false };

// A browser may forbid storage: what is kept is then forgotten with the page.
const keeper = (storage) => {
  const here = new Map();
  return {
    get: (name) => {
      try {
        return storage().getItem(name);
      } catch {
        return here.get(name) ?? null;
      }
    },
    set: (name, value) => {
      here.set(name, value);
      try {
        if (value === null) storage().removeItem(name);
        else storage().setItem(name, value);
      } catch {
        // It is in `here`.
      }
    },
  };
};
const forTheTab = keeper(() => sessionStorage);
const forLong = keeper(() => localStorage);

const KEY = "secateur-key";
const keyHeader = () => {
  const key = forTheTab.get(KEY);
  return key ? { authorization: `Bearer ${key}` } : {};
};

const openKey = (isOpen, why) => {
  byId("key-form").hidden = !isOpen;
  byId("key-button").setAttribute("aria-expanded", String(isOpen));
  if (why) say(byId("key-why"), why);
  if (isOpen) byId("key").focus();
};

// Whoever closes the form has closed it: it opens by itself once for each key, and when a question needs one.
let refusedKey;
const wantKey = (isAsked) => {
  const key = forTheTab.get(KEY);
  const why = key ? "The router does not know this API key." : "This router asks for an API key.";
  if (byId("key-form").hidden && (isAsked || refusedKey !== key)) openKey(true, why);
  else say(byId("key-why"), why);
  refusedKey = key;
};

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
  const plan = view.nodes.map((node) => node.node?.plan).find(Boolean);
  say(byId("model"), plan ? `${view.model}, plan ${plan.slice(0, 8)}` : view.model);
  newer(view);
  document.body.dataset.known = "yes";
  showBytes(view.totals.bytes);
  showCounts(view.totals, view.requests);
  showCluster(view);
  showLatency(page.recent);
  showRequests(page.recent);
};

const look = async () => {
  const after = page.recent.at(-1)?.number ?? 0;
  const response = await fetch(`v1/cluster?recent_after=${after}`, {
    headers: keyHeader(), cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (response.status === 401) {
    showState("down", "An API key is needed");
    wantKey();
    return;
  }
  if (!response.ok) throw new Error(String(response.status));
  const view = await response.json();
  page.seen = Date.now();
  // Another router than before may have counted past the number that was asked for.
  if (page.started !== null && page.started !== view.started && after > 0) {
    page.recent = [];
    page.started = null;
    soon();
    return;
  }
  show(view);
};

const lost = () => {
  const since = page.seen ? `; last heard of at ${words.time(page.seen)}` : "";
  showState("down", `The router does not answer${since}`);
};

const round = async () => {
  clearTimeout(page.timer);
  if (document.hidden || page.isAsking) return;
  page.isAsking = true;
  try {
    await look();
  } catch (error) {
    if (error instanceof TypeError || error.name === "TimeoutError" || /^\d+$/.test(error.message)) lost();
    else throw error;
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

byId("key-button").addEventListener("click", () => openKey(byId("key-form").hidden));
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = byId("key").value.trim();
  forTheTab.set(KEY, key || null);
  byId("key").value = "";
  openKey(false);
  byId("key-button").focus();
  soon();
});

const THEMES = ["system", "light", "dark"];
const setTheme = (theme) => {
  document.documentElement.dataset.theme = theme;
  say(byId("theme-button"), `Theme: ${theme}`);
};
byId("theme-button").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  forLong.set("secateur-theme", next);
  setTheme(next);
});
setTheme(THEMES.find((theme) => theme === forLong.get("secateur-theme")) ?? "system");

showBytes({ sent: 0, dense: 0, unpruned: 0 });
showLatency([]);
round();
