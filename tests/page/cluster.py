"""A local cluster of real processes: two prefill nodes, two decode nodes, a router."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "demo"
READY_S = 90


class Role:
    """One process; `address` is where it says that it listens."""

    def __init__(self, program, *arguments):
        command = [str(program), *arguments, "--listen", "127.0.0.1:0", "--log", "error"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(command)} ended before it listened")
        self.address = json.loads(line)["listening"]

    def kill(self):
        self.process.kill()
        self.process.wait()


class Cluster:
    """Ends with the `with` block, whatever happened in it."""

    def __init__(self, program, router_flags=(), names=("decode-0", "decode-1")):
        self.roles = []

        def start(role, name):
            flags = ["--model", str(MODEL), "--node-id", name, "--threads", "1"]
            self.roles.append(Role(program, role, *flags))
            return self.roles[-1]

        self.prefill = [start("prefill", f"prefill-{number}") for number in range(2)]
        self.decode = [start("decode", name) for name in names]
        listed = lambda roles: ",".join(role.address for role in roles)
        flags = ["--model", str(MODEL), "--prefill", listed(self.prefill), "--decode", listed(self.decode), *router_flags]
        self.router = Role(program, "router", *flags)
        self.roles.append(self.router)
        self.url = f"http://{self.router.address}/"

    def __enter__(self):
        began = time.monotonic()
        while time.monotonic() - began < READY_S:
            if self.get("health")[0] == 200:
                return self
            time.sleep(0.1)
        raise SystemExit(f"the cluster was not ready after {READY_S} s")

    def __exit__(self, *_):
        for role in reversed(self.roles):
            role.kill()

    def get(self, path):
        return self.send(urllib.request.Request(self.url + path))

    def ask(self, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return self.send(urllib.request.Request(self.url + "v1/chat/completions", data, headers))

    @staticmethod
    def send(request):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (urllib.error.URLError, ConnectionError):
            return 0, b""
