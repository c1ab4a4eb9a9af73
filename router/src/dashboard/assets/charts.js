// Bars over the last ten minutes, each a slot, the newest on the right, with what the axes mean below.

const SLOTS = 60;
const CHART_HEIGHT = 44;

const makeChart = () =>
  make("figure", { class: "chart" },
    draw("svg", { role: "img" }),
    make("figcaption", { class: "axis" }, make("span"), make("span", { class: "most" }), make("span", {}, "now")));

// `values`: a number or null for each slot; `highs`: likewise, drawn behind them; `shown`: a value in words.
const showChart = (chart, { name, slots, values, highs = values, shown }) => {
  const svg = chart.querySelector("svg");
  const width = Math.max(120, svg.clientWidth || 240);
  const step = width / SLOTS;
  const most = Math.max(0, ...values.filter(Number.isFinite), ...highs.filter(Number.isFinite));
  const now = Date.now();
  const bar = (value, kind, at) => {
    if (!Number.isFinite(value) || value <= 0) return null;
    const height = Math.max(1, (value / most) * (CHART_HEIGHT - 2));
    return draw("rect", { class: kind, x: (width - (values.length - at) * step).toFixed(1), y: (CHART_HEIGHT - height).toFixed(1),
      width: Math.max(1, step - 1).toFixed(1), height: height.toFixed(1) });
  };
  const column = (at) => {
    const bars = [highs !== values && bar(highs[at], "high", at), bar(values[at], "value", at)].filter(Boolean);
    if (!bars.length) return null;
    const since = words.time(now - (values.length - 1 - at) * slots.seconds * 1000 - slots.last_seconds * 1000);
    const high = highs !== values && Number.isFinite(highs[at]) ? `, nine of ten within ${shown(highs[at])}` : "";
    return draw("g", {}, draw("title", {}, `from ${since}: ${shown(values[at])}${high}`), ...bars);
  };
  svg.setAttribute("viewBox", `0 0 ${width} ${CHART_HEIGHT}`);
  svg.setAttribute("aria-label", `${name}, the last ten minutes: ${most ? `at most ${shown(most)}` : "nothing"}`);
  svg.replaceChildren(...values.map((_, at) => column(at)).filter(Boolean));
  const [from, top] = chart.querySelectorAll(".axis span");
  say(from, `${words.number((SLOTS * slots.seconds) / 60)} min ago`);
  say(top, most ? `max ${shown(most)}` : "");
};
