"""Opens the live page in Chromium: empty, under load, asked a question, with nodes down. Every state is checked by axe for
accessible names and contrast, for console errors and for a page wider than a phone, and photographed at 390 and 1440 pixels,
light and dark. Exits with 1 if anything is wrong."""

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


def empty(look, cluster):
    browser = look.browser
    look.check(browser.text("ratio") == "", "empty: no ratio is made up")
    look.check("No request yet" in browser.text("requests-empty"), "empty: says that there was no request")
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
            "const e = document.activeElement, mark = e.id === 'file' ? document.querySelector('label[for=file]') : e;"
            "const s = getComputedStyle(mark);"
            "return [e.id || e.tagName + '.' + e.className, parseFloat(s.outlineWidth), s.outlineStyle]")
        if name in reached or name.startswith("BODY"):
            break
        reached.append(name)
        if outline < 1 or style == "none":
            unseen.append(name)
    missing = {"question", "file", "sample", "ask-button", "theme-button", "key-button"} - set(reached)
    look.check(not missing, f"keyboard: reaches {len(reached)} places{', but not ' + str(missing) if missing else ''}")
    look.check(not unseen, f"keyboard: the focus can be seen everywhere{' but at ' + str(unseen) if unseen else ''}")


def under_load(look, cluster):
    browser = look.browser
    done = []
    load = threading.Thread(target=lambda: done.extend(burst(cluster, 150, 10)))
    load.start()
    browser.until("the page shows answers", lambda: browser.text("answers") not in ("0", ""))
    browser.until("the page shows a link at work", lambda: browser.driver.find_elements(By.CSS_SELECTOR, ".wire.moving"))
    browser.until("requests are at the nodes", lambda: browser.text("running") != "0 running")
    time.sleep(2)
    look.state("load")
    load.join()
    look.check(done and set(done) == {200}, f"load: {len(done)} requests, statuses {sorted(set(done))}")
    status, body = cluster.get("v1/cluster")
    totals = json.loads(body)["totals"]
    browser.until("the page counts every answer", lambda: browser.text("answers") == str(sum(totals["requests"].values())))
    ratio = totals["bytes"]["unpruned"] / totals["bytes"]["sent"]
    look.check(abs(float(browser.text("ratio").rstrip("×")) - ratio) < 0.06, f"load: the ratio is the totals' ({ratio:.2f})")
    look.check(len(browser.driver.find_elements(By.CSS_SELECTOR, "#requests > li")) == 10, "load: ten requests are listed")
    for body in [b"{", json.dumps({"messages": []}).encode(), json.dumps({"model": "gpt-7", "messages": [{"role": "user", "content": "x"}]}).encode()]:
        look.check(400 <= cluster.ask(body)[0] < 500, "load: a broken body is refused")
    browser.until("refusals are listed", lambda: browser.text("errors") == "3")


def asked(look, cluster):
    browser = look.browser
    card = json.loads((MODEL / "secateur.json").read_text())["sample"]
    question = browser.find("question")
    question.clear()
    question.send_keys(card["prompt"])
    browser.find("file").send_keys(str(MODEL / card["image"]))
    browser.until("the picture is there", lambda: browser.driver.find_elements(By.CSS_SELECTOR, "#pictures img"))
    browser.find("ask-button").click()
    browser.until("the receipt is there", lambda: "sent instead of" in browser.text("answer-receipt"))
    look.check(browser.text("answer") == card["answer"], f"asked: {browser.text('answer')}")
    look.check(browser.text("ask-trouble") == "", "asked: no trouble")
    newest = "return document.querySelector('#requests > li .how').textContent"
    browser.until("it is the newest of the last requests", lambda: browser.script(newest) == "answered")
    first = browser.driver.find_element(By.CSS_SELECTOR, "#requests > li summary")
    first.send_keys(Keys.ENTER)
    browser.until("its receipt opens", lambda: browser.driver.find_elements(By.CSS_SELECTOR, "#requests details[open] .receipt"))
    look.state("asked")
    first.send_keys(Keys.ENTER)


def stopped(look, cluster):
    """A router that hangs: the answer does not come, and Stop ends the wait."""
    browser = look.browser
    cluster.router.process.send_signal(signal.SIGSTOP)
    browser.find("ask-button").click()
    browser.until("it can be stopped", lambda: browser.find("stop-button").is_displayed())
    browser.find("stop-button").click()
    browser.until("it says so", lambda: browser.text("ask-state").startswith("Stopped"))
    look.check(browser.find("ask-button").is_enabled(), "stopped: another question can be asked")
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
    browser.find("ask-button").click()
    browser.until("the refusal is shown in words", lambda: "503" in browser.text("ask-trouble"))
    print("       ", browser.text("state-text"), "|", browser.text("ask-trouble"))
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
            for step in (empty, under_load, asked, stopped, with_nodes_down):
                step(look, cluster)
        with_a_key(look, arguments.program)
    print(f"{len(look.wrong)} wrong" if look.wrong else "the page is as it should be", flush=True)
    raise SystemExit(1 if look.wrong else 0)


if __name__ == "__main__":
    main()
