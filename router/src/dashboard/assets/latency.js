// Latency over the last ten minutes: percentiles, and their course.

const LATENCIES = [["ttft_ms", "First token"], ["tpot_ms", "Each further token"], ["e2e_ms", "Whole answer"]];
const PERCENTILES = ["p50", "p90", "p99"];

const makeLatency = ([, name]) =>
  make("div", { class: "latency-part" }, make("h3", {}, name),
    make("dl", { class: "percentiles" }, ...PERCENTILES.map((key) => make("div", {}, make("dt", {}, key), make("dd", { "data-key": key })))),
    makeChart());

const showLatency = ({ window: lately }) => {
  const { slots } = lately;
  keep(byId("latencies"), LATENCIES, ([key]) => key, makeLatency, (part, [key, name]) => {
    const found = lately[key];
    for (const value of part.querySelectorAll("dd")) say(value, found ? words.ms(found[value.dataset.key]) : "–");
    const of = (at) => slots[key].map((slot) => slot?.[at] ?? null);
    showChart(part.querySelector(".chart"), { name, slots, values: of(0), highs: of(1), shown: words.ms });
  });
  const count = lately.ttft_ms?.count ?? 0;
  say(byId("latency-note"), count
    ? `Of ${words.plural(count, "answer", "answers")} in the last ten minutes. Bars: the median, and behind it what nine of ten were within.`
    : "No answer in the last ten minutes.");
};
