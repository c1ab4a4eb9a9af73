"""Opens the live page in Chromium: empty, under load, in a conversation, with two answers side by side, with nodes down.
Every state is checked by axe for accessible names and contrast, for console errors and for a page wider than a phone, and
photographed at 390 and 1440 pixels, light and dark. Exits with 1 if anything is wrong."""

import argparse
import base64
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from browser import Browser, shown
from cluster import MODEL, Cluster
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

LOOKS = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
HOSTILE = "<b id=broken>decode</b>"
# An answer with all that a model may write, and what it must not become.
MARKDOWN = """# Title
Some **bold**, *slanted*, `code <b>` and <img src=x onerror=alert(1)>.

- one
  - within
- two

| tool | use |
|---|---|
| loppers | branches |

```rust
fn main() {}
```
[web](https://example.org/a_(b)) [script](javascript:alert(1)) [data](data:text/html,x)
"""
# What no column is wide enough for: it scrolls or breaks there, and the conversation itself never scrolls sideways.
WIDE = "\n\n".join([
    "x" * 300, "```\n" + "y = f(x) + " * 40 + "\n```", "- https://example.org/" + "a" * 200,
    "\n".join("|" + f" {cell} |" * 20 for cell in ("head", "---", "a cell")),
])
# Takes the place of the next fetch of an answer: a stream of one answer, its thinking and a call.
STUB = """
const [text, breaksOff, rest] = [arguments[0], arguments[1], window.fetch];
window.fetch = (url, options) => {
  if (!String(url).includes("chat")) return rest(url, options);
  window.fetch = rest;
  const event = (delta, more) => "data: " + JSON.stringify({ choices: [{ index: 0, delta }], ...more }) + "\\n\\n";
  const call = { index: 0, function: { name: "prune", arguments: `{"twig": "${"z".repeat(200)}"}` } };
  const parts = text.match(/[^]{1,7}/g).map((content) => event({ content }));
  const body = [event({ reasoning_content: "Which tool is it?" }), ...parts, event({ tool_calls: [call] }), "data: [DONE]\\n\\n"].join("");
  const broken = new ReadableStream({
    start: (stream) => stream.enqueue(new TextEncoder().encode(event({ content: text }))),
    pull: (stream) => stream.error(new TypeError("network error")),
  });
  return Promise.resolve(new Response(breaksOff ? broken : body, { headers: { "content-type": "text/event-stream" } }));
};
"""


class Look:
    def __init__(self, browser, out):
        self.browser, self.out, self.wrong = browser, out, []

    def check(self, holds, what):
        print(f"  {'ok  ' if holds else 'FAIL'} {what}", flush=True)
        if not holds:
            self.wrong.append(what)

    def state(self, name, refused=False):
        """Checks and photographs the page as it is; `refused`: failed requests are what this state shows."""
        browser = self.browser
        print(name, flush=True)
        for width, scheme in LOOKS:
            browser.look_as(width, scheme)
            time.sleep(0.4)
            browser.photograph(self.out / f"{name}-{width}-{scheme}.png")
            violations, _ = browser.axe()
            for violation in violations:
                print(f"       {violation}")
            self.check(not violations, f"{name} {width} {scheme}: {len(violations)} axe violations")
            self.check(browser.overflow() <= 0, f"{name} {width} {scheme}: {browser.overflow()} pixels too wide")
        complaints = browser.complaints()
        if refused:
            # The browser itself logs every answer of 4xx and 5xx.
            complaints = [entry for entry in complaints if entry["source"] != "network"]
        self.check(not complaints, f"{name}: {len(complaints)} console errors{shown(complaints) if complaints else ''}")
        browser.look_as(1440, "light")


def picture_questions(count):
    lines = (MODEL / "eval" / "suite.jsonl").read_text().splitlines()
    cases = [case for case in map(json.loads, lines) if case.get("images")]
    for number in range(count):
        case = cases[number * 7 % len(cases)]
        uris = ["data:image/png;base64," + base64.b64encode((MODEL / "eval" / image).read_bytes()).decode() for image in case["images"]]
        parts = [{"type": "image_url", "image_url": {"url": uri}} for uri in uris]
        yield {
            "messages": [{"role": "user", "content": [*parts, {"type": "text", "text": case["prompt"]}]}],
            "temperature": 0, "max_tokens": 48, "ignore_eos": number % 3 == 0,
            "secateur": {"transfer": {"policy": "dense" if number % 10 == 9 else "tiered"}},
        }


def burst(cluster, count, at_once):
    with ThreadPoolExecutor(at_once) as pool:
        return [status for status, _ in pool.map(cluster.ask, picture_questions(count))]


def ask(browser, text):
    question = browser.find("question")
    question.clear()
    question.send_keys(text + Keys.ENTER)


def count(browser, selector):
    return len(browser.driver.find_elements(By.CSS_SELECTOR, selector))


def last(browser, selector):
    return browser.script("return [...document.querySelectorAll(arguments[0])].at(-1)?.textContent ?? ''", selector)


def empty(look, cluster):
    browser = look.browser
    look.check(browser.text("ratio") == "", "empty: no ratio is made up")
    look.check("No request yet" in browser.text("requests-empty"), "empty: says that there was no request")
    browser.look_as(390, "light")
    end = browser.script("return document.getElementById('ask-button').getBoundingClientRect().bottom")
    look.check(end < 844, f"empty: on a phone the question is asked above the fold ({end:.0f})")
    browser.look_as(1440, "light")
    columns = browser.script("return ['.pane', '.picture'].map((part) => document.querySelector(part).getBoundingClientRect().bottom)")
    look.check(abs(columns[0] - columns[1]) < 24, f"empty: both columns end together ({columns[0]:.0f}, {columns[1]:.0f})")
    keyboard(look)
    look.state("empty")


def keyboard(look):
    """Tab alone reaches everything that can be used, and what has the focus shows it."""
    browser = look.browser
    browser.script("document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')")
    reached, unseen = [], []
    for _ in range(40):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        name, outline, style = browser.script(
            "const e = document.activeElement, marks = { file: 'label[for=file]', question: '.composer' };"
            "const mark = marks[e.id] ? document.querySelector(marks[e.id]) : e;"
            "const s = getComputedStyle(mark);"
            "return [e.id || e.tagName + '.' + e.className, parseFloat(s.outlineWidth), s.outlineStyle]")
        if name in reached or name.startswith("BODY"):
            break
        reached.append(name)
        if outline < 1 or style == "none":
            unseen.append(name)
    missing = {"question", "file", "sample", "compare", "log", "ask-button", "theme-button", "key-button"} - set(reached)
    look.check(not missing, f"keyboard: reaches {len(reached)} places{', but not ' + str(missing) if missing else ''}")
    look.check(not unseen, f"keyboard: the focus can be seen everywhere{' but at ' + str(unseen) if unseen else ''}")


def under_load(look, cluster):
    browser = look.browser
    done = []
    load = threading.Thread(target=lambda: done.extend(burst(cluster, 150, 10)))
    load.start()
    browser.until("the page shows a link at work", lambda: browser.driver.find_elements(By.CSS_SELECTOR, ".wire.moving"))
    browser.until("requests are at the nodes", lambda: browser.text("running") != "0 running")
    browser.until("bytes and tokens flow", lambda: browser.text("bytes") != "0 B/s" and browser.text("tokens") != "0/s")
    time.sleep(2)
    look.state("load")
    load.join()
    look.check(done and set(done) == {200}, f"load: {len(done)} requests, statuses {sorted(set(done))}")
    status, body = cluster.get("v1/cluster")
    totals = json.loads(body)["totals"]
    answers = f"{sum(totals['requests'].values())} answers in 10 min"
    browser.until("the page counts every answer", lambda: answers in browser.text("running-note"))
    ratio = totals["bytes"]["unpruned"] / totals["bytes"]["sent"]
    look.check(abs(float(browser.text("ratio").rstrip("×")) - ratio) < 0.06, f"load: the ratio is the totals' ({ratio:.2f})")
    look.check(len(browser.driver.find_elements(By.CSS_SELECTOR, "#requests > li")) == 10, "load: ten requests are listed")
    for body in [b"{", json.dumps({"messages": []}).encode(), json.dumps({"model": "gpt-7", "messages": [{"role": "user", "content": "x"}]}).encode()]:
        look.check(400 <= cluster.ask(body)[0] < 500, "load: a broken body is refused")
    browser.until("refusals are listed", lambda: browser.script("return [...document.querySelectorAll('#client-errors b')].reduce((sum, count) => sum + Number(count.textContent), 0)") == 3)
    look.check(browser.text("failures") == "0", "load: a client's mistakes are not the cluster's failures")
    percentiles = [found.text for found in browser.driver.find_elements(By.CSS_SELECTOR, "#latencies dd")]
    look.check(len(percentiles) == 9 and "–" not in percentiles, f"load: percentiles are there: {percentiles}")


def asked(look, cluster):
    browser = look.browser
    card = json.loads((MODEL / "secateur.json").read_text())["sample"]
    browser.find("sample").click()
    browser.find("file").send_keys(str(MODEL / card["image"]))
    browser.until("both pictures are there", lambda: count(browser, "#pictures img") == 2)
    browser.driver.find_element(By.CSS_SELECTOR, "#pictures .remove").click()
    look.check(count(browser, "#pictures img") == 1, "asked: a picture can be taken back")
    ask(browser, card["prompt"])
    browser.until("the receipt is there", lambda: "Instead of" in last(browser, "#turns .receipt"))
    look.check(last(browser, "#turns .prose") == card["answer"], f"asked: {last(browser, '#turns .prose')}")
    look.check("pictures pruned" in last(browser, "#turns .legend"), f"asked: what saved bytes: {last(browser, '#turns .legend')}")
    newest = "return document.querySelector('#requests > li .how').textContent"
    browser.until("it is the newest of the last requests", lambda: browser.script(newest) == "answered")
    ask(browser, "How many are orange?")
    browser.until("the next turn has its receipt", lambda: count(browser, "#turns .receipt") == 2)
    first = browser.driver.find_element(By.CSS_SELECTOR, "#requests > li summary")
    first.send_keys(Keys.ENTER)
    browser.until("a receipt opens among the requests", lambda: count(browser, "#requests details[open] .receipt") == 1)
    look.state("asked")
    first.send_keys(Keys.ENTER)
    visible = [found for found in browser.driver.find_elements(By.CSS_SELECTOR, ".turn-acts button") if found.is_displayed()]
    look.check([found.text for found in visible] == ["Edit", "Ask again"], "asked: the last turn, and it alone, can be taken back")
    visible[1].click()
    browser.until("it is answered again", lambda: "cached" in last(browser, "#turns .glance"))
    look.check("already at decode" in last(browser, "#turns .legend"), "asked: what decode has is not shipped again")
    visible[0].click()
    look.check(browser.find("question").get_attribute("value") == "How many are orange?", "asked: its words can be edited")
    look.check(count(browser, "#turns > li") == 1, "asked: the turn before it stays")


def marked_up(look, cluster):
    """What a model writes becomes elements, and none that it chose itself."""
    browser = look.browser
    browser.script(STUB, MARKDOWN)
    ask(browser, "Write all that you can")
    browser.until("it is written", lambda: "prune" in last(browser, "#turns .calls"))
    shown = "#turns > li:last-child .answer > .prose "
    for selector in ["h4", "strong", "em", "p code", "ul ul li", "table td", ".code pre code"]:
        look.check(count(browser, shown + selector) > 0, f"marked up: there is {selector}")
    look.check(count(browser, shown + "img") == 0, "marked up: a tag stays text")
    links = browser.script("return [...document.querySelectorAll(arguments[0])].map((link) => [link.href, link.rel])", shown + "a")
    look.check(links == [["https://example.org/a_(b)", "noopener noreferrer nofollow"]], f"marked up: {links}")
    look.check(browser.script("return document.querySelector('#turns > li:last-child .thinking').open") is False, "marked up: thinking is folded")
    look.state("marked-up")
    browser.script(STUB, WIDE)
    ask(browser, "z" * 200)
    browser.until("the wide one is written", lambda: count(browser, "#turns .calls:not([hidden])") == 2)
    for width, scheme in LOOKS[::2]:
        browser.look_as(width, scheme)
        wide = browser.script("const log = document.getElementById('log'); return log.scrollWidth - log.clientWidth")
        look.check(wide <= 0, f"marked up: at {width} the conversation is {wide} pixels too wide")
    browser.look_as(1440, "light")
    browser.script(STUB, "Half", True)
    ask(browser, "And if the connection ends?")
    browser.until("the loss is told", lambda: "broke off" in last(browser, "#turns .trouble"))
    look.check(last(browser, "#turns .answer > .prose") == "Half", "marked up: what came before the loss stays")
    browser.script("document.getElementById('max-tokens').value = '99999999'")
    browser.script(STUB, "Whole")
    browser.find("question").send_keys("With more tokens than the field takes?")
    browser.find("ask-button").click()
    browser.until("a folded option holds no question back", lambda: "Whole" in last(browser, "#turns .answer > .prose"))
    browser.script("document.getElementById('max-tokens').value = '512'")
    browser.find("new-button").click()
    look.check(count(browser, "#turns > li") == 0 and browser.find("hello").is_displayed(), "marked up: a new conversation is empty")


def compared(look, cluster):
    """The same question under two policies, each answer with its own receipt."""
    browser = look.browser
    browser.find("sample").click()
    browser.script("const choice = document.getElementById('compare'); choice.value = 'whole'; choice.dispatchEvent(new Event('change'))")
    ask(browser, "What is in the picture?")
    browser.until("both have their receipt", lambda: count(browser, "#turns .receipt") == 2)
    legends = [found.text for found in browser.driver.find_elements(By.CSS_SELECTOR, "#turns .legend")]
    look.check(["pictures pruned" in legend for legend in legends] == [False, True], f"compared: {legends}")
    boxes = [found.rect for found in browser.driver.find_elements(By.CSS_SELECTOR, "#turns .answer")]
    look.check(boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"], "compared: they stand side by side")
    look.state("compared")
    browser.script("const choice = document.getElementById('compare'); choice.value = ''; choice.dispatchEvent(new Event('change'))")


def stopped(look, cluster):
    """A router that hangs: the answer does not come, and Stop ends the wait."""
    browser = look.browser
    cluster.router.process.send_signal(signal.SIGSTOP)
    ask(browser, "Are you there?")
    browser.until("it can be stopped", lambda: browser.find("stop-button").is_displayed())
    browser.find("stop-button").click()
    browser.until("it says so", lambda: last(browser, "#turns .state-line").startswith("Stopped"))
    look.check(browser.find("ask-button").is_displayed(), "stopped: another question can be asked")
    browser.until("the router is missed", lambda: "does not answer" in browser.text("state-text"))
    cluster.router.process.send_signal(signal.SIGCONT)
    browser.until("the cluster is ready again", lambda: browser.text("state-text") == "Ready")
    browser.complaints()


def with_nodes_down(look, cluster):
    browser = look.browser
    cluster.decode[0].kill()
    browser.until("the page says that a node is missing", lambda: "1 node is missing" in browser.text("state-text"))
    look.check("cannot be reached" in browser.text("decode-nodes"), "down: the node's reason is shown")
    look.state("one-down")
    cluster.decode[1].kill()
    browser.until("the page says that it is not ready", lambda: browser.text("state-text").startswith("Not ready"))
    ask(browser, "And now?")
    browser.until("the refusal is shown in words", lambda: "503" in last(browser, "#turns .trouble"))
    browser.until("it is a failure of the cluster", lambda: browser.text("failures") == "1")
    print("       ", browser.text("state-text"), "|", last(browser, "#turns .trouble"))
    look.state("all-down", refused=True)
    cluster.router.kill()
    browser.until("the page says that the router is gone", lambda: "does not answer" in browser.text("state-text"))
    browser.complaints()


def with_a_key(look, program):
    """A router that asks for a key: the page loads without, and asks for it. One of its nodes has a name that is no HTML."""
    browser = look.browser
    with Cluster(program, ["--api-key", "secret-key"], names=("decode-0", HOSTILE)) as cluster:
        browser.open(cluster.url)
        browser.until("the page asks for the key", lambda: browser.find("key-form").is_displayed())
        look.check(not browser.find("requests-empty").is_displayed(), "key: nothing is said of requests that it cannot know")
        look.state("key", refused=True)
        browser.find("key").send_keys("wrong" + Keys.ENTER)
        browser.until("a wrong key is told", lambda: "does not know this API key" in browser.text("key-why"))
        browser.find("key").send_keys("secret-key" + Keys.ENTER)
        browser.until("the right key opens", lambda: browser.text("state-text") == "Ready")
        kept = browser.script("return [localStorage.getItem('secateur-key'), sessionStorage.getItem('secateur-key'), document.cookie]")
        look.check(kept == [None, "secret-key", ""], f"key: kept in this tab alone ({kept})")
        look.check(HOSTILE in browser.text("decode-nodes"), "key: a node's name is shown as it is")
        look.check(not browser.driver.find_elements(By.ID, "broken"), "key: a node's name is text, never HTML")
        browser.find("theme-button").click()
        look.check(browser.text("theme-button") == "Theme: light", "theme: the button says what is chosen")
        browser.complaints()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--program", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments = arguments.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with Browser() as browser:
        look = Look(browser, arguments.out)
        with Cluster(arguments.program) as cluster:
            browser.look_as(1440, "light")
            browser.open(cluster.url)
            browser.until("the router is heard", lambda: browser.text("state-text") == "Ready")
            for step in (empty, under_load, asked, marked_up, compared, stopped, with_nodes_down):
                step(look, cluster)
        with_a_key(look, arguments.program)
    print(f"{len(look.wrong)} wrong" if look.wrong else "the page is as it should be", flush=True)
    raise SystemExit(1 if look.wrong else 0)


if __name__ == "__main__":
    main()
