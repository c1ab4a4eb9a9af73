// The question box: pictures in, a streamed answer out, and its receipt.

const PICTURES_MAX = 8;
const PICTURE_BYTES_MAX = 20 * 1024 * 1024;
const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const pictures = [];
let running = null;

const trouble = (text) => {
  byId("answer-box").hidden = false;
  say(byId("ask-trouble"), text);
};

const showPictures = () => {
  const create = (picture) => {
    const remove = make("button", { type: "button", class: "remove", "aria-label": `Remove ${picture.name}` }, "×");
    remove.addEventListener("click", () => {
      pictures.splice(pictures.indexOf(picture), 1);
      showPictures();
      byId("question").focus();
    });
    return make("li", {}, make("img", { src: picture.url, alt: picture.name, width: "64", height: "64" }), remove);
  };
  keep(byId("pictures"), pictures, (picture) => picture.key, create, () => {});
};

let pictureCount = 0;
const addPicture = (name, url) => {
  if (pictures.length >= PICTURES_MAX) return trouble(`At most ${PICTURES_MAX} pictures fit in one question here.`);
  pictures.push({ key: ++pictureCount, name, url });
  showPictures();
};

const read = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

const addFiles = async (files) => {
  say(byId("ask-trouble"), "");
  for (const file of files) {
    if (!KINDS.includes(file.type)) trouble(`${file.name} is no picture that can be read here: PNG, JPEG, WebP or GIF.`);
    else if (file.size > PICTURE_BYTES_MAX) trouble(`${file.name} has ${words.bytes(file.size)}; at most 20 MiB are taken.`);
    else {
      try {
        addPicture(file.name || "pasted picture", await read(file));
      } catch {
        trouble(`${file.name} could not be read.`);
      }
    }
  }
};

const bodyOf = () => {
  const parts = pictures.map((picture) => ({ type: "image_url", image_url: { url: picture.url } }));
  const method = byId("method").value;
  const visual = { method };
  if (method !== "auto" && method !== "none") visual.keep = Number(byId("keep").value);
  return {
    messages: [{ role: "user", content: [...parts, { type: "text", text: byId("question").value }] }],
    temperature: 0,
    max_tokens: Number(byId("max-tokens").value) || 128,
    stream: true,
    stream_options: { include_usage: true },
    secateur: { visual, transfer: { policy: byId("policy").value } },
  };
};

// Events of a stream of server-sent events, as JSON; ends at [DONE].
async function* eventsOf(response) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The answer broke off before its end.");
    rest += decoder.decode(value, { stream: true });
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.startsWith("data: ") ? event.slice(6) : "";
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

const inWords = async (response) => {
  let error = null;
  try {
    ({ error } = await response.json());
  } catch {
    // Not the router's words, perhaps a proxy's; the status has to do.
  }
  const said = error?.message ? `${error.message[0].toUpperCase()}${error.message.slice(1)}` : "No reason was given";
  const field = error?.param ? ` Field: ${error.param}.` : "";
  return `${said}.${field} (${response.status}${error?.code ? `, ${error.code}` : ""})`;
};

const stream = async (response) => {
  const answer = byId("answer");
  let receipt = null;
  let usage = null;
  for await (const event of eventsOf(response)) {
    if (event.error) throw new Error(`The answer broke off: ${event.error.message}.`);
    const text = event.choices?.[0]?.delta?.content;
    if (text) answer.append(text);
    usage = event.usage ?? usage;
    receipt = event.secateur ?? receipt;
  }
  if (receipt) byId("answer-receipt").replaceChildren(receiptOf({ receipt, usage }));
  if (!answer.textContent) answer.textContent = "(the model had nothing to say)";
};

const setRunning = (control) => {
  running = control;
  byId("ask-button").disabled = control !== null;
  byId("stop-button").hidden = control === null;
  byId("answer").setAttribute("aria-busy", String(control !== null));
};

const failed = (error) => {
  if (error.name === "AbortError") return say(byId("ask-state"), "Stopped. The router gives it up at both nodes.");
  trouble(error instanceof TypeError ? "The router cannot be reached." : error.message);
};

const ask = async () => {
  if (running) return;
  setRunning(new AbortController());
  byId("answer-box").hidden = false;
  byId("answer").replaceChildren();
  byId("answer-receipt").replaceChildren();
  say(byId("ask-trouble"), "");
  say(byId("ask-state"), "Prefill is reading");
  try {
    const response = await fetch("v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", ...keyHeader() },
      body: JSON.stringify(bodyOf()),
      signal: running.signal,
    });
    if (response.status === 401) wantKey(true);
    if (!response.ok) throw new Error(await inWords(response));
    say(byId("ask-state"), "Decode is writing");
    await stream(response);
    say(byId("ask-state"), "");
  } catch (error) {
    say(byId("ask-state"), "");
    failed(error);
  } finally {
    const hadFocus = document.activeElement === byId("stop-button");
    setRunning(null);
    if (hadFocus) byId("ask-button").focus();
    soon();
  }
};

byId("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask-form").requestSubmit();
});
byId("stop-button").addEventListener("click", () => running?.abort());
byId("file").addEventListener("change", (event) => {
  addFiles([...event.target.files]);
  event.target.value = "";
});
byId("sample").addEventListener("click", () => addPicture("sample picture", byId("sample-picture").src));
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  addFiles(files);
});
const box = byId("ask");
for (const name of ["dragenter", "dragover"]) {
  box.addEventListener(name, (event) => {
    event.preventDefault();
    box.dataset.over = "yes";
  });
}
for (const name of ["dragleave", "drop"]) box.addEventListener(name, () => delete box.dataset.over);
box.addEventListener("drop", (event) => {
  event.preventDefault();
  addFiles([...event.dataTransfer.files]);
});
const showKeep = () => {
  const method = byId("method").value;
  byId("keep").disabled = method === "auto" || method === "none";
  say(byId("keep-value"), { auto: "auto", none: "all" }[method] ?? words.percent(Number(byId("keep").value)));
};
byId("method").addEventListener("change", showKeep);
byId("keep").addEventListener("input", showKeep);
