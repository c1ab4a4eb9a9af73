// Where KV bytes stayed, cause by cause, since the router started.

const showSaved = ({ bytes }, lately) => {
  const isAny = bytes.sent > 0 && bytes.unpruned > 0;
  byId("saved-steps").hidden = !isAny;
  if (!isAny) return;
  say(byId("ratio"), words.times(bytes.unpruned / bytes.sent));
  say(byId("ratio-words"), bytes.unpruned >= bytes.sent
    ? `fewer bytes: ${words.bytes(bytes.sent)} sent instead of ${words.bytes(bytes.unpruned)}`
    : `of what whole prompts need: ${words.bytes(bytes.sent)} sent instead of ${words.bytes(bytes.unpruned)}, tried again or with frames that weigh more than they save`);
  const now = lately.bytes;
  say(byId("ratio-now"), now.sent && now.unpruned ? `${words.times(now.unpruned / now.sent)} in the last ten minutes` : "");
  const causes = causesOf(bytes, "packed or quantised");
  const steps = [{ key: "whole", name: "whole prompts", from: 0, to: bytes.unpruned }, ...causes, { key: "sent", name: "sent", from: 0, to: bytes.sent }];
  const most = Math.max(bytes.unpruned, bytes.sent);
  const create = () => make("div", {}, make("dt"), make("dd", {}, make("span", { class: "track", "aria-hidden": "true" }, make("span", { class: "fill" })), make("span", { class: "value" }), make("span", { class: "factor" })));
  keep(byId("saved-steps"), steps, ({ key }) => key, create, (step, { key, name, from, to }) => {
    const isSum = key === "whole" || key === "sent";
    step.className = `step ${key}`;
    say(step.querySelector("dt"), name);
    const fill = step.querySelector(".fill");
    fill.style.marginLeft = `${(Math.min(from, to) / most) * 100 * (isSum ? 0 : 1)}%`;
    fill.style.width = `${(Math.abs(to - from) / most) * 100}%`;
    say(step.querySelector(".value"), isSum ? words.bytes(to) : `${to > from ? "+" : "−"}${words.bytes(Math.abs(to - from))}`);
    say(step.querySelector(".factor"), isSum ? "" : words.times(from / to));
  });
};
