// Where a question is written, and what it is asked with.

const setQuestion = (text) => {
  byId("question").value = text;
  fitQuestion();
};

// As high as its text, within bounds that the style sets.
const fitQuestion = () => {
  const question = byId("question");
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
};

const showKeep = () => {
  const method = byId("method").value;
  byId("keep").disabled = method === "auto" || method === "none";
  say(byId("keep-value"), { auto: "auto", none: "all" }[method] ?? words.percent(Number(byId("keep").value)));
};

const showCompare = () => {
  const { value } = byId("compare");
  document.body.dataset.compare = value in COMPARISONS ? "yes" : "no";
  for (const comparer of document.querySelectorAll(".comparer")) comparer.setAttribute("aria-pressed", String(comparer.dataset.comparison === value));
};

byId("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
// A keyboard on glass has no Shift to hold: there Enter begins a line.
const isTouched = matchMedia("(pointer: coarse)");
byId("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  if (isTouched.matches && !event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  ask();
});
byId("question").addEventListener("input", fitQuestion);
// Options push the turns up: what was read last stays in sight.
document.querySelector(".options").addEventListener("toggle", () => {
  byId("log").scrollTop = byId("log").scrollHeight;
});
byId("stop-button").addEventListener("click", stop);
byId("new-button").addEventListener("click", startAnew);
byId("method").addEventListener("change", showKeep);
byId("keep").addEventListener("input", showKeep);
byId("compare").addEventListener("change", showCompare);
byId("sample").addEventListener("click", () => {
  setPictures([]);
  addPicture("sample picture", byId("sample-picture").src);
  setQuestion("What is in the picture?");
  byId("question").focus();
});
for (const starter of document.querySelectorAll(".starter")) {
  starter.addEventListener("click", () => {
    setQuestion(starter.textContent);
    byId("question").focus();
  });
}
for (const comparer of document.querySelectorAll(".comparer")) {
  comparer.addEventListener("click", () => {
    byId("compare").value = comparer.dataset.comparison;
    showCompare();
    byId("question").focus();
  });
}
