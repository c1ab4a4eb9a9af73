// The conversation: turns of a question and its answer, or of two answers side by side, and what they look like.

// Two policies for one question. `extension` is what the request says in its field `secateur`.
const COMPARISONS = {
  dense: [
    { name: "dense", extension: { transfer: { policy: "dense" } } },
    { name: "tiered", extension: { transfer: { policy: "tiered" } } },
  ],
  small: [
    { name: "tiered", extension: { transfer: { policy: "tiered" } } },
    { name: "small", extension: { transfer: { policy: "small" } } },
  ],
  whole: [
    { name: "whole", extension: { visual: { method: "none" } } },
    { name: "pruned", extension: {} },
  ],
};

let turns = [];
let turnCount = 0;

const isRunning = (turn) => turn.answers.some((answer) => answer.control);
const latest = () => turns.at(-1);

// What an answer has to say for itself while there is no receipt.
const stateOfAnswer = (answer) => {
  if (!answer.control) return answer.note;
  if (!answer.firstAt) return "Prefill is reading";
  const seconds = (performance.now() - answer.firstAt) / 1000;
  const count = answer.usage?.completion_tokens ?? 0;
  return count > 1 && seconds > 0.5 ? `Decode is writing: ${words.plural(count, "token", "tokens")}, ${words.number((count - 1) / seconds)} a second` : "Decode is writing";
};

const callText = ({ name, text }) => `${name}(${text})`;

const makeAnswer = (answer) => {
  const part = (tag, attributes) => make(tag, { hidden: true, ...attributes });
  const thinking = part("details", { class: "thinking" });
  thinking.append(make("summary", {}, "Thinking"), make("div", { class: "prose" }));
  answer.view = {
    thinking,
    prose: make("div", { class: "prose", "aria-live": "polite", "aria-busy": "true" }),
    calls: part("pre", { class: "calls", tabindex: "0", role: "region", "aria-label": "Calls of tools" }),
    state: make("p", { class: "note state-line" }),
    trouble: make("p", { class: "trouble", role: "alert" }),
    receipt: make("div"),
    acts: part("div", { class: "acts" }),
  };
  answer.view.acts.append(copyButton(() => answer.text, { "aria-label": "Copy the answer" }));
  const title = make("h3", { class: answer.name ? "column-title" : "unseen" }, answer.name ?? "Answer");
  return make("article", { class: "answer" }, title, ...Object.values(answer.view));
};

const showAnswer = (answer) => {
  const { view } = answer;
  view.thinking.hidden = !answer.thinking;
  if (answer.thinking) {
    showMarkdown(view.thinking.lastElementChild, answer.thinking);
    say(view.thinking.firstElementChild, answer.control && !answer.text ? "Thinking …" : "Thinking");
  }
  showMarkdown(view.prose, answer.text);
  view.calls.hidden = answer.calls.length === 0;
  say(view.calls, answer.calls.map(callText).join("\n"));
  view.prose.setAttribute("aria-busy", String(Boolean(answer.control)));
  say(view.state, stateOfAnswer(answer) ?? "");
  say(view.trouble, answer.trouble ?? "");
  view.acts.hidden = Boolean(answer.control) || !answer.text;
  if (answer.receipt && !view.receipt.childElementCount) view.receipt.append(receiptOf(answer));
};

const makeTurn = (turn) => {
  const asked = make("div", { class: "asked" }, make("h3", { class: "unseen" }, "Question"));
  if (turn.pictures.length) asked.append(make("ul", { class: "thumbs" }, ...turn.pictures.map((picture) => make("li", {}, thumbnail(picture, 96)))));
  if (turn.text) asked.append(make("p", {}, turn.text));
  const acts = make("div", { class: "acts turn-acts" },
    button("Edit", () => editTurn(turn), { class: "small" }),
    button("Ask again", () => retryTurn(turn), { class: "small" }));
  return make("li", { class: "turn" }, asked, make("div", { class: "answers" }), acts);
};

const updateTurn = (item, turn) => {
  const answers = item.querySelector(".answers");
  answers.dataset.columns = String(turn.answers.length);
  keep(answers, turn.answers, (answer) => answer.key, makeAnswer, (_, answer) => showAnswer(answer));
  item.querySelector(".turn-acts").hidden = turn !== latest() || isRunning(turn);
};

let frame = 0;
const showTurns = () => {
  cancelAnimationFrame(frame);
  frame = 0;
  const log = byId("log");
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 90;
  byId("hello").hidden = turns.length > 0;
  byId("new-button").hidden = turns.length === 0;
  keep(byId("turns"), turns, (turn) => turn.key, makeTurn, updateTurn);
  if (isAtEnd) log.scrollTop = log.scrollHeight;
};

// Tokens come faster than a screen shows them.
const showTurnsSoon = () => {
  if (!frame) frame = requestAnimationFrame(showTurns);
};
