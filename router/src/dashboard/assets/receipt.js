// A receipt: one sentence, the figures that matter, and the whole of it.

const sentence = ({ transfer, visual }) => {
  const pruned = visual ? ` ${words.count(visual.tokens_before)} visual tokens became ${words.count(visual.tokens_after)}.` : "";
  if (!transfer.bytes_sent) return `Nothing had to be shipped.${pruned}`;
  return `${words.bytes(transfer.bytes_sent)} sent instead of ${words.bytes(transfer.bytes_unpruned)}: ${words.times(transfer.ratio)} fewer.${pruned}`;
};

const figuresOf = ({ receipt, usage, e2e_ms: e2e }) => {
  const { transfer, visual, timing, decision } = receipt;
  const nodes = [receipt.prefill_node, receipt.decode_node].filter(Boolean).join(" to ");
  return [
    ["Transfer", `${transfer.policy}: ${decision.why}`],
    ["Sent", words.bytes(transfer.bytes_sent)],
    ["Kept tokens, dense", words.bytes(transfer.bytes_dense)],
    ["Unpruned, dense", words.bytes(transfer.bytes_unpruned)],
    ["On the wire", transfer.wire_ms ? `${words.ms(transfer.wire_ms)}, ${words.percent(transfer.overlap)} behind prefill` : "–"],
    ["Link", transfer.link_mbit_s ? words.mbit(transfer.link_mbit_s) : "–"],
    ["Not sent again", transfer.positions_held ? words.plural(transfer.positions_held, "position", "positions") : "–"],
    ["Pictures", visual ? `${words.count(visual.images)}, ${visual.method}, ${words.ms(visual.prune_ms)}` : null],
    ["Queued", words.ms(timing.queue_ms)],
    ["Prefill", words.ms(timing.prefill_ms)],
    ["First token", words.ms(timing.ttft_ms)],
    ["Each token", timing.tpot_ms ? words.ms(timing.tpot_ms) : "–"],
    ["Whole answer", e2e ? words.ms(e2e) : null],
    ["Tokens", usage ? `${words.count(usage.prompt_tokens)} in, ${words.count(usage.completion_tokens)} out` : null],
    ["Nodes", nodes],
    ["Attempts", receipt.attempts > 1 ? words.count(receipt.attempts) : null],
  ].filter(([, value]) => value !== null);
};

const receiptOf = (request) =>
  make("div", { class: "receipt" },
    make("p", { class: "lead" }, sentence(request.receipt)),
    make("dl", {}, ...figuresOf(request).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
    make("details", {}, make("summary", {}, "The receipt as JSON"),
      make("pre", { tabindex: "0", role: "region", "aria-label": "Receipt as JSON" }, JSON.stringify(request.receipt, null, 2))));
