// What went wrong in the last ten minutes: the cluster's failures, apart from what clients did wrong.

const showList = (id, counts, name) => {
  const entries = Object.entries(counts).sort((one, other) => other[1] - one[1]);
  const create = ([key]) => make("li", {}, make("span", {}, name(key)), make("code", {}, key), make("b"));
  keep(byId(id), entries, ([key]) => key, create, (item, [, count]) => say(item.lastElementChild, words.count(count)));
  byId(`${id}-part`).hidden = entries.length === 0;
  return entries.length > 0;
};

const showTroubles = ({ window: lately, totals }) => {
  const again = { failed: totals.attempts.failed ?? 0, preempted: totals.attempts.preempted ?? 0 };
  const behind = Object.fromEntries(Object.entries({ ...again, ...totals.refused }).filter(([, count]) => count > 0));
  const isAny = [
    showList("cluster-errors", lately.errors.cluster, words.code),
    showList("client-errors", lately.errors.client, words.code),
    showList("behind", behind, (key) => ({ failed: "attempts that failed", preempted: "answers that gave way" })[key] ?? "shipments refused"),
  ].some(Boolean);
  byId("troubles-empty").hidden = isAny;
};
