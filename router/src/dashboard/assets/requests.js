// The last requests, newest first, each with its receipt behind it.

const SHOWN = 10;
let showsAll = false;

const outcomes = {
  stop: ["answered", "ok"],
  length: ["answered, cut at its length", "ok"],
  tool_calls: ["called tools", "ok"],
  abort: ["broken off", "off"],
};

const rowOf = (request) => {
  const { receipt } = request;
  // A client's own mistake is no alarm.
  const isClients = request.status < 500 && request.status !== 429;
  const [text, kind] = outcomes[request.outcome] ?? [`${request.status ?? ""} ${words.code(request.code)}`.trim(), isClients ? "off" : "bad"];
  const cell = (name, value) => make("span", { class: `cell ${name}` }, value ?? "");
  const visual = receipt?.visual;
  const transfer = receipt?.transfer;
  const summary = make("summary", {},
    make("time", { class: "cell when", datetime: new Date(request.at_ms).toISOString() }, words.time(request.at_ms)),
    make("span", { class: `cell how ${kind}` }, request.outcome === "length" ? "at length" : text),
    cell("tokens", visual ? `${words.count(visual.tokens_before)} → ${words.count(visual.tokens_after)}` : receipt ? "no picture" : null),
    cell("sent", transfer?.bytes_sent ? words.bytes(transfer.bytes_sent) : null),
    cell("fewer", transfer?.bytes_sent ? words.times(transfer.ratio) : null),
    cell("ttft", receipt ? words.ms(receipt.timing.ttft_ms) : null),
    cell("tpot", receipt?.timing.tpot_ms ? words.ms(receipt.timing.tpot_ms) : null),
    cell("nodes", receipt ? [receipt.prefill_node, receipt.decode_node].filter(Boolean).join(" → ") : null));
  const body = make("div", { class: "body" });
  const details = make("details", {}, summary, body);
  // Most rows are never opened; their receipts are made when they are.
  details.addEventListener("toggle", () => {
    if (!details.open || body.childElementCount) return;
    body.append(receipt ? receiptOf(request) : make("p", { class: "lead" }, whyNot(request)), make("p", { class: "note" }, `Request ${request.id}`));
  });
  return make("li", {}, details);
};

const whyNot = (request) => {
  if (request.outcome === "abort") return "The client left before the answer was complete. Its work and memory were given back at both nodes.";
  return `The router answered ${request.status} with the code ${request.code}. What was asked is not kept; the client has the message.`;
};

const showRequests = (recent) => {
  const newest = [...recent].reverse();
  const shown = showsAll ? newest : newest.slice(0, SHOWN);
  byId("requests-empty").hidden = recent.length > 0;
  byId("request-heads").hidden = recent.length === 0;
  keep(byId("requests"), shown, (request) => request.number, rowOf, () => {});
  byId("more-button").hidden = recent.length <= SHOWN;
  say(byId("more-button"), showsAll ? `Show the last ${SHOWN}` : `Show all ${recent.length}`);
};

byId("more-button").addEventListener("click", () => {
  showsAll = !showsAll;
  showRequests(page.recent);
});
