// Sums since the router started, and the latency of the last requests.

const BARS = [
  ["unpruned", "Unpruned and dense"],
  ["dense", "Kept tokens, dense"],
  ["sent", "Sent"],
];

const showBytes = (bytes) => {
  const most = Math.max(bytes.unpruned, bytes.dense, bytes.sent);
  const create = ([key, name]) =>
    make("div", { class: `bar ${key}` }, make("dt", {}, name),
      make("dd", {}, make("span", { class: "track", "aria-hidden": "true" }, make("span", { class: "fill" })), make("span", { class: "value" })));
  keep(byId("byte-bars"), BARS, ([key]) => key, create, (bar, [key]) => {
    bar.querySelector(".fill").style.width = most ? `${(bytes[key] / most) * 100}%` : "0";
    say(bar.querySelector(".value"), most ? words.bytes(bytes[key]) : "–");
  });
  if (!bytes.sent || !bytes.unpruned) return;
  say(byId("ratio"), words.times(bytes.unpruned / bytes.sent));
  const saved = bytes.unpruned - bytes.sent;
  say(byId("ratio-words"), saved >= 0
    ? `${words.bytes(saved)} stayed where they were: ${words.bytes(bytes.sent)} were sent instead of ${words.bytes(bytes.unpruned)}.`
    : `${words.bytes(-saved)} more were sent than the prompts would have needed: shipments were tried again, or their frames weigh more than they save.`);
};

const listed = (counts, name) =>
  Object.entries(counts).sort((one, other) => other[1] - one[1]).map(([key, count]) => `${words.count(count)} × ${name(key)}`).join(", ");

const showCounts = ({ visual_tokens: tokens, requests, errors, refused, attempts, generation_tokens: generated }, now) => {
  if (tokens.before) {
    say(byId("tokens"), `${words.count(tokens.before)} → ${words.count(tokens.after)}`);
    say(byId("tokens-note"), `${words.percent(tokens.after / tokens.before)} kept`);
  }
  const answered = requests.stop + requests.length;
  say(byId("answers"), words.count(answered));
  const left = requests.abort ? `, ${words.count(requests.abort)} broken off` : "";
  say(byId("answers-note"), answered || requests.abort ? `${words.plural(generated, "token", "tokens")} generated${left}` : "none yet");
  say(byId("running"), `${words.count(now.running)} running`);
  say(byId("waiting"), now.waiting ? `${words.plural(now.waiting, "request waits", "requests wait")}` : "nothing waits");
  const failed = Object.values(errors).reduce((sum, count) => sum + count, 0);
  say(byId("errors"), words.count(failed));
  const again = (attempts.failed ?? 0) + (attempts.preempted ?? 0);
  const notes = [listed(errors, words.code), again && `${words.plural(again, "attempt", "attempts")} that failed or gave way`,
    Object.keys(refused).length && `KV refused: ${listed(refused, (reason) => reason.replaceAll("_", " "))}`].filter(Boolean);
  say(byId("errors-note"), notes.join("; ") || "nothing so far");
  byId("errors").dataset.any = failed ? "yes" : "no";
};

const SPARKS = [
  ["ttft", "First token", (request) => request.receipt?.timing.ttft_ms],
  ["tpot", "Each further token", (request) => (request.usage?.completion_tokens > 1 ? request.receipt?.timing.tpot_ms : undefined)],
  ["e2e", "Whole answer", (request) => (request.receipt ? request.e2e_ms : undefined)],
];
const SLOTS = 50;
const HEIGHT = 48;

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

// One bar for each request, the newest on the right.
const bars = (svg, values) => {
  const width = svg.clientWidth || 240;
  const most = Math.max(...values);
  const step = width / SLOTS;
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren(...values.map((value, index) => {
    const height = Math.max(1, (value / most) * (HEIGHT - 2));
    const x = width - (values.length - index) * step;
    return draw("rect", { x: x.toFixed(2), y: (HEIGHT - height).toFixed(2), width: Math.max(1, step - 1.5).toFixed(2),
      height: height.toFixed(2), rx: "1", class: index === values.length - 1 ? "newest" : null });
  }));
};

const showLatency = (recent) => {
  const create = ([, name]) =>
    make("div", { class: "spark" }, make("h3", {}, name), draw("svg", { role: "img" }), make("p", { class: "now" }), make("p", { class: "note" }));
  keep(byId("sparks"), SPARKS, ([key]) => key, create, (spark, [, name, of]) => {
    const values = recent.map(of).filter((value) => Number.isFinite(value));
    const svg = spark.querySelector("svg");
    if (!values.length) {
      svg.replaceChildren();
      svg.setAttribute("aria-label", `${name}: no request yet`);
      say(spark.querySelector(".now"), "–");
      say(spark.querySelector(".note"), "no request yet");
      return;
    }
    const sorted = [...values].sort((one, other) => one - other);
    const note = `median of ${words.count(values.length)}; 90% within ${words.ms(at(sorted, 0.9))}, last ${words.ms(values.at(-1))}`;
    bars(svg, values);
    svg.setAttribute("aria-label", `${name}: ${words.ms(at(sorted, 0.5))}, ${note}`);
    say(spark.querySelector(".now"), words.ms(at(sorted, 0.5)));
    say(spark.querySelector(".note"), note);
  });
};
