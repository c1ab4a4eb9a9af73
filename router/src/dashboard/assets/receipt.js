// A receipt: what an answer cost, what each cause saved of its bytes, and the whole of it.

// From the whole prompts to what was sent, cause by cause. A cause may also add: framing, or a shipment that was tried again.
const causesOf = ({ unpruned, kept, planned, raw, sent }, coded) => [
  { key: "visual", name: "pictures pruned", from: unpruned, to: kept },
  { key: "blocks", name: kept < planned ? "shipped again after a failure" : "left out by plan or policy", from: kept, to: planned },
  { key: "held", name: "already at decode", from: planned, to: raw },
  { key: "precision", name: raw < sent ? "frames and tables weigh more than coding saves" : coded, from: raw, to: sent },
].filter(({ from, to }) => from > 0 && to > 0 && Math.abs(from / to - 1) >= 0.005);

// The receipt has the factors; the bytes between them follow.
const bytesOf = ({ transfer }) => {
  const { saved } = transfer;
  if (!saved || !transfer.bytes_sent) return null;
  const kept = transfer.bytes_unpruned / saved.visual;
  const planned = kept / saved.blocks;
  return { unpruned: transfer.bytes_unpruned, kept, planned, raw: transfer.bytes_raw ?? planned / saved.held, sent: transfer.bytes_sent };
};

const codedName = ({ bits }) => (bits ? `quantised to about ${words.number(bits)} bits` : "packed without loss");

// What was sent and what each cause saved, as parts of one bar, with a legend that says the same in words.
const savedBar = (bytes, coded) => {
  const causes = causesOf(bytes, coded);
  const most = Math.max(bytes.unpruned, bytes.sent);
  const part = (key, size) => {
    const made = make("span", { class: `part ${key}` });
    made.style.width = `${(Math.max(0, size) / most) * 100}%`;
    return made;
  };
  const entry = (key, name, value) => make("li", { class: key }, make("span", { class: "swatch", "aria-hidden": "true" }), `${name} `, make("b", {}, value));
  const text = ({ from, to }) => (from >= to ? `−${words.bytes(from - to)}, ${words.times(from / to)}` : `+${words.bytes(to - from)}`);
  return make("div", { class: "saved-bar" },
    make("div", { class: "stack", "aria-hidden": "true" }, part("sent", bytes.sent), ...[...causes].reverse().map(({ key, from, to }) => part(key, from - to))),
    make("ul", { class: "legend" }, entry("sent", "sent", words.bytes(bytes.sent)), ...causes.map((cause) => entry(cause.key, cause.name, text(cause)))));
};

// The figures that matter at a glance.
const headline = ({ receipt, usage }) => {
  const { transfer, timing } = receipt;
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  return pairs([
    usage && ["Tokens", `${words.count(usage.prompt_tokens)} in${cached ? ` (${words.count(cached)} cached)` : ""}, ${words.count(usage.completion_tokens)} out`],
    ["First token", words.ms(timing.ttft_ms)],
    timing.tpot_ms && ["Speed", `${words.number(1000 / timing.tpot_ms)} tokens/s`],
    ["Sent", transfer.bytes_sent ? words.bytes(transfer.bytes_sent) : "nothing"],
    transfer.bytes_sent && ["Instead of", `${words.bytes(transfer.bytes_unpruned)}, ${words.times(transfer.ratio)}`],
  ].filter(Boolean), { class: "glance" });
};

const figuresOf = ({ receipt, e2e_ms: e2e }) => {
  const { transfer, visual, timing, decision } = receipt;
  return [
    ["Transfer", `${transfer.policy}: ${decision.why}`],
    decision.evidence && ["Precision", decision.evidence],
    visual && ["Visual tokens", `${words.count(visual.tokens_before)} → ${words.count(visual.tokens_after)} of ${words.plural(visual.images, "picture", "pictures")}`],
    visual && ["Pruned by", `${visual.method} in ${words.ms(visual.prune_ms)}`],
    ["Kept tokens, uncoded", words.bytes(transfer.bytes_dense)],
    ["On the wire", transfer.wire_ms ? `${words.ms(transfer.wire_ms)}, ${words.percent(transfer.overlap)} behind prefill` : "–"],
    ["Rate of the shipment", transfer.link_mbit_s ? words.mbit(transfer.link_mbit_s) : "–"],
    ["Already at decode", transfer.positions_held ? words.plural(transfer.positions_held, "position", "positions") : "–"],
    ["Queued", words.ms(timing.queue_ms)],
    ["Prefill", words.ms(timing.prefill_ms)],
    ["Each token", timing.tpot_ms ? words.ms(timing.tpot_ms) : "–"],
    e2e && ["Whole answer", words.ms(e2e)],
    ["Nodes", [receipt.prefill_node, receipt.decode_node].filter(Boolean).join(" to ")],
    receipt.attempts > 1 && ["Attempts", words.count(receipt.attempts)],
  ].filter(Boolean);
};

const receiptOf = (request) => {
  const bytes = bytesOf(request.receipt);
  return make("div", { class: "receipt" },
    headline(request),
    bytes && savedBar(bytes, codedName(request.receipt.transfer)),
    make("details", {}, make("summary", {}, "All of the receipt"),
      pairs(figuresOf(request), { class: "figures" }),
      make("pre", { tabindex: "0", role: "region", "aria-label": "Receipt as JSON" }, JSON.stringify(request.receipt, null, 2))));
};
