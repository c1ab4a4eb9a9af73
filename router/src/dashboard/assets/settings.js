// What the page remembers: the API key for the tab, the theme for longer. Of questions and answers nothing is stored.

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
