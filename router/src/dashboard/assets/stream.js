// One question over HTTP: its answer as it streams, or why there is none.

// The next bytes. Where a connection ends in the middle, browsers throw as if none had been made.
const readOn = async (reader) => {
  try {
    const { done, value } = await reader.read();
    if (!done) return value;
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  throw new Error("The answer broke off before its end.");
};

// Events of a stream of server-sent events, as JSON; ends at [DONE].
async function* eventsOf(response) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let rest = "";
  for (;;) {
    rest += decoder.decode(await readOn(reader), { stream: true });
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

// Calls `on` with each event of the answer.
const askRouter = async (body, signal, on) => {
  const response = await fetch("v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", ...keyHeader() },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true, continuous_usage_stats: true } }),
    signal,
  });
  if (response.status === 401) wantKey(true);
  if (!response.ok) throw new Error(await inWords(response));
  for await (const event of eventsOf(response)) {
    if (event.error) throw new Error(`The answer broke off: ${event.error.message}.`);
    on(event);
  }
};
