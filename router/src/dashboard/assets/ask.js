// Asks: makes requests of the conversation, follows their answers, and takes turns back.

const contentOf = ({ text, pictures: shown }) => {
  if (!shown.length) return text;
  return [...shown.map(({ url }) => ({ type: "image_url", image_url: { url } })), { type: "text", text }];
};

// What a column has been told so far. Turns without an answer there are left out: no template takes two questions in a row.
const messagesFor = (turn, column) => {
  const system = byId("system").value.trim();
  const messages = system ? [{ role: "system", content: system }] : [];
  for (const earlier of turns.slice(0, turns.indexOf(turn))) {
    const answer = earlier.answers[column] ?? earlier.answers[0];
    if (!answer?.text) continue;
    messages.push({ role: "user", content: contentOf(earlier) }, { role: "assistant", content: answer.text });
  }
  return [...messages, { role: "user", content: contentOf(turn) }];
};

const chosenExtension = () => {
  const method = byId("method").value;
  const visual = { method };
  if (method !== "auto" && method !== "none") visual.keep = Number(byId("keep").value);
  const transfer = { policy: byId("policy").value };
  return takes.pictures ? { visual, transfer } : { transfer };
};

const bodyOf = (turn, column, extension) => {
  const body = {
    messages: messagesFor(turn, column),
    max_tokens: Math.max(1, Math.min(Number(byId("max-tokens").value) || 512, page.positionsMax ?? Infinity)),
    secateur: { ...chosenExtension(), ...extension },
  };
  const temperature = byId("temperature").value;
  return temperature === "" ? body : { ...body, temperature: Number(temperature) };
};

const onEvent = (answer, event) => {
  answer.usage = event.usage ?? answer.usage;
  answer.receipt = event.secateur ?? answer.receipt;
  const [choice] = event.choices ?? [];
  if (!choice) return;
  answer.firstAt ??= performance.now();
  const { content, reasoning_content: thinking, tool_calls: calls } = choice.delta ?? {};
  answer.text += content ?? "";
  answer.thinking += thinking ?? "";
  for (const { index = 0, function: part } of calls ?? []) {
    const call = (answer.calls[index] ??= { name: "", text: "" });
    call.name += part?.name ?? "";
    call.text += part?.arguments ?? "";
  }
  if (choice.finish_reason === "length") answer.note = "Cut off at its length.";
};

const failed = (answer, error) => {
  if (error.name === "AbortError") answer.note = "Stopped. The router gives it up at both nodes.";
  else answer.trouble = error instanceof TypeError ? "The router cannot be reached." : error.message;
};

const answerTo = async (turn, column, answer, extension) => {
  const began = performance.now();
  try {
    await askRouter(bodyOf(turn, column, extension), answer.control.signal, (event) => {
      onEvent(answer, event);
      showTurnsSoon();
    });
    answer.e2e_ms = performance.now() - began;
    if (!answer.text && !answer.calls.length) answer.note ??= "The model had nothing to say.";
  } catch (error) {
    failed(answer, error);
  }
  answer.control = null;
  // Shown now and not with the next frame, which a hidden page never draws.
  showTurns();
};

const columnsOf = () => COMPARISONS[byId("compare").value] ?? [{ name: null, extension: {} }];

// One button takes the other's place, and its focus.
const showRunning = () => {
  const runs = turns.some(isRunning);
  const [shown, gone] = runs ? [byId("stop-button"), byId("ask-button")] : [byId("ask-button"), byId("stop-button")];
  const hadFocus = document.activeElement === gone;
  gone.hidden = true;
  shown.hidden = false;
  if (hadFocus) shown.focus();
};

const run = async (turn) => {
  const columns = columnsOf();
  turn.answers = columns.map(({ name }, column) => ({
    key: `${turn.key}.${(turn.tries += 1)}.${column}`, name, text: "", thinking: "", calls: [], control: new AbortController(),
  }));
  showTurns();
  byId("log").scrollTop = byId("log").scrollHeight;
  showRunning();
  await Promise.all(turn.answers.map((answer, column) => answerTo(turn, column, answer, columns[column].extension)));
  showRunning();
  soon();
};

const ask = () => {
  const text = byId("question").value.trim();
  if (turns.some(isRunning) || (!text && !pictures.length)) return;
  complain("");
  turnCount += 1;
  const turn = { key: turnCount, tries: 0, text, pictures, answers: [] };
  turns.push(turn);
  setPictures([]);
  setQuestion("");
  return run(turn);
};

const retryTurn = (turn) => {
  if (turns.some(isRunning)) return;
  byId("question").focus();
  return run(turn);
};

// The question goes back to where it was written; what was answered is forgotten.
const editTurn = (turn) => {
  if (turns.some(isRunning)) return;
  turns = turns.filter((other) => other !== turn);
  setPictures(turn.pictures);
  setQuestion(turn.text);
  showTurns();
  byId("question").focus();
};

const stop = () => turns.flatMap((turn) => turn.answers).forEach((answer) => answer.control?.abort());

const startAnew = () => {
  stop();
  turns = [];
  showTurns();
  showRunning();
  byId("question").focus();
};
