"""Chromium, as a person with a given window and a given taste in colours has it."""

import base64
import json
from pathlib import Path

import axe_playwright_python
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
WAIT_S = 30


class Browser:
    def __init__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService("/usr/bin/chromedriver")
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.execute_cdp_cmd("Page.enable", {})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def open(self, url):
        self.driver.get(url)

    def look_as(self, width, scheme, reduced=True):
        """`reduced`: no animation, so that two pictures of one state are the same."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        if reduced:
            features.append({"name": "prefers-reduced-motion", "value": "reduce"})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def photograph(self, path):
        """The whole page, not only what fits into the window."""
        height = self.script("return document.documentElement.scrollHeight")
        width = self.script("return window.innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def find(self, name):
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        return self.script("return document.getElementById(arguments[0]).textContent", name)

    def until(self, what, condition):
        def holds(_):
            return condition()
        try:
            WebDriverWait(self.driver, WAIT_S, poll_frequency=0.1).until(holds)
        except Exception as error:
            raise AssertionError(f"after {WAIT_S} s still not: {what}") from error

    def axe(self):
        """What axe-core finds: a list of violations, each in a line."""
        self.script(AXE)
        report = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations', 'incomplete']}).then(done);"
        )
        lines = []
        for violation in report["violations"]:
            where = [" ".join(map(str, node["target"])) for node in violation["nodes"]]
            why = [check["message"] for node in violation["nodes"] for check in node["any"] + node["all"]]
            lines.append(f"{violation['id']} ({violation['impact']}): {where[:4]} {why[:2]}")
        return lines, len(report["passes"]) if "passes" in report else 0

    def overflow(self):
        """How many pixels the page is wider than the window."""
        return self.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def complaints(self):
        """What the console said since it was asked last."""
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def shown(entries):
    return json.dumps([entry["message"] for entry in entries], indent=1)
