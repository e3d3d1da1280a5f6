"""Does everything of a release but publishing it, and leaves in dist/ what would be published.

    python scripts/release_check.py [TAG]

TAG, such as v1.2.3, is what the release will be called: the version, the changelog and the addresses must then say that
they are of a release. dist/ gets python/ (the packages), SBOMs and licences of what each image holds, notes.md (the
version's section of the changelog) and SHA256SUMS.
"""

import argparse
import functools
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import tomllib
import urllib.request
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kfp_bert_components import COMPONENTS, addresses
from kfp_bert_components import __version__ as VERSION

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
UV = Path(sys.executable).with_name("uv")
LOAD = """
import sys
from kfp.components import load_component_from_url
for url in sys.argv[1:]:
    print(load_component_from_url(url).name)
"""
# The first line about a licence in the file that each package brings, as JSON by its name.
LICENCE_FILES = """
import json
from importlib.metadata import distributions
found = {}
for one in distributions():
    for file in one.files or ():
        if "dist-info" in str(file) and "LICEN" in file.name.upper():
            lines = one.locate_file(file).read_text(errors="replace").splitlines()
            found.setdefault(one.name, next((line.strip() for line in lines if "licen" in line.lower()), ""))
print(json.dumps(found))
"""


def main() -> int:
    """Run the steps one after the other; 1 and a sentence at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag", nargs="?", default="", help="the tag of the release")
    tag = parser.parse_args().tag
    steps = [
        ("version and changelog", lambda: version_and_changelog(tag)),
        ("generated files and interfaces", lambda: run("make", "check-generated")),
        ("docs", lambda: run("make", "docs")),
        ("tests against peers", lambda: run("make", "test-peers")),
        ("build", build),
        ("contents of the packages", contents),
        ("the wheel in a clean environment, and the quickstart from it alone", wheel),
        ("specs by URL", specs),
        ("licences of what the images hold", licences),
        ("images", images),
        ("checksums", checksums),
    ]
    begin = time.monotonic()
    for number, (title, step) in enumerate(steps, 1):
        print(f"\n== {number}/{len(steps)} {title} ({time.monotonic() - begin:.0f} s)", flush=True)
        try:
            step()
        except subprocess.CalledProcessError as error:
            print(f"failed: {' '.join(map(str, error.cmd))}")
            return 1
        except AssertionError as error:
            print(f"failed: {error}")
            return 1
    print(f"\nReady to publish: {DIST.relative_to(ROOT)}/ ({time.monotonic() - begin:.0f} s)")
    return 0


def version_and_changelog(tag: str) -> None:
    """The version is one everywhere, and has a section in the changelog: the notes of the release."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION), f"__version__ is {VERSION}: expected MAJOR.MINOR.PATCH."
    section = re.search(rf"^## {re.escape(VERSION)}\b([^\n]*)\n(.*?)(?=^## |\Z)", _text("CHANGELOG.md"), re.M | re.S)
    assert section and section[2].strip(), f"CHANGELOG.md has no section ## {VERSION} with something in it."
    interfaces = json.loads(_text("component_specs/interfaces.json"))["version"]
    assert interfaces == VERSION, f"component_specs are of version {interfaces}: run `make generate`."
    assert f"version: {VERSION}\n" in _text("CITATION.cff"), f"CITATION.cff names another version than {VERSION}."
    if tag:
        assert tag == f"v{VERSION}", f"The tag is {tag}, and __version__ is {VERSION}."
        assert addresses.RELEASED, "addresses.py says that nothing is released: name the real places there."
        assert "unreleased" not in section[1], f"CHANGELOG.md says that {VERSION} is unreleased: give it a date."
    (DIST / "notes.md").write_text(section[2].strip() + "\n")
    print(f"version {VERSION}" + ("" if tag else ", not released: no tag was named"))


def build() -> None:
    """Source distribution and wheel, as a registry would take them."""
    run(sys.executable, "-m", "build", "--outdir", DIST / "python", ROOT, quiet=True)
    tool("twine", "twine", "check", "--strict", *(DIST / "python").iterdir())


def contents() -> None:
    """The packages hold the files of the repository that they should, and no others."""
    tracked = {line for line in run("git", "ls-files", quiet=True).splitlines() if (ROOT / line).exists()}
    included = tomllib.loads(_text("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    expected = {one for one in tracked if f"/{one.split('/')[0]}" in included}
    with tarfile.open(next((DIST / "python").glob("*.tar.gz"))) as source:
        found = {name.partition("/")[2] for name in source.getnames()}
    same("the source distribution", found, expected | {"PKG-INFO", "pyproject.toml", ".gitignore"})
    wheel = {one.removeprefix("src/") for one in tracked if one.startswith("src/")}
    same("the wheel", {one for one in zipfile.ZipFile(_wheel()).namelist() if ".dist-info/" not in one}, wheel)
    print(f"{len(found)} files in the source distribution, {len(wheel)} in the wheel")


def same(name: str, found: set[str], expected: set[str]) -> None:
    """Fail where files are there that should not be, or the other way round."""
    assert not found - expected, f"{name} has what git does not: {', '.join(sorted(found - expected)[:10])}"
    assert not expected - found, f"{name} lacks {', '.join(sorted(expected - found)[:10])}"


def wheel() -> None:
    """As a user has it: no repository, no other package."""
    run(ROOT / "scripts" / "test_wheel.sh", sys.executable, DIST / "python")


def specs() -> None:
    """The specs of this version by URL, as its tag will have them, loaded and verified by the wheel."""
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(next((DIST / "python").glob("*.tar.gz"))) as source:
            source.extractall(scratch, filter="data")
        Path(next(Path(scratch).iterdir())).rename(Path(scratch) / f"v{VERSION}")
        bin_folder = environment(Path(scratch) / "venv", "")
        with serving(Path(scratch)) as host:
            base = addresses.specs_url().replace(addresses.PROJECT, host)
            sums = _fetched(f"{base}/SHA256SUMS").decode()
            lines = dict(reversed(line.split("  ")) for line in sums.splitlines())
            urls = [addresses.spec_url(name).replace(addresses.PROJECT, host) for name in COMPONENTS]
            assert set(lines) == {url.removeprefix(f"{base}/") for url in urls}, "SHA256SUMS names other specs."
            for url in urls:
                digest = hashlib.sha256(_fetched(url)).hexdigest()
                assert lines[url.removeprefix(f"{base}/")] == digest, f"{url} is not what SHA256SUMS says."
                run(bin_folder / "kfp-bert", "components", "verify", url)
            run(bin_folder / "python", "-c", LOAD, *urls, quiet=True)
    print(f"{len(urls)} specs load by URL and are what SHA256SUMS says")


def licences() -> None:
    """An SBOM of each image's Python packages; every one of them must state its licence, or bring the file.

    What the base image holds besides Python packages is not in it.
    """
    stated: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for image, extras in images_and_extras().items():
        with tempfile.TemporaryDirectory() as scratch:
            python = environment(Path(scratch) / "venv", extras) / "python"
            target = DIST / f"sbom-{image}.json"
            # With the texts: what packages state in words and not as an SPDX id is a text to it.
            options = ("--gather-license-texts", "--of", "JSON", "-o", target)
            tool("cyclonedx-bom", "cyclonedx-py", "environment", *options, python)
            files = json.loads(run(python, "-c", LICENCE_FILES, quiet=True))
        for one in json.loads(target.read_text())["components"]:
            stated[one["name"], one["version"], licence(one) or files.get(one["name"], "")].append(image)
    silent = [f"{name} {version}" for name, version, what in stated if not what]
    assert not silent, f"These packages state no licence: {', '.join(silent)}."
    lines = [
        f"{name} {version}: {what} ({', '.join(where)})\n" for (name, version, what), where in sorted(stated.items())
    ]
    (DIST / "licences.txt").write_text("".join(lines))
    print(f"{len(lines)} packages, each with its licence, in {len(images_and_extras())} images")


def licence(component: dict) -> str:
    """What a component of an SBOM says of its licence; "" where it says nothing."""
    said = []
    for one in component.get("licenses", []):
        stated = one.get("license", {})
        text = stated.get("text", {}).get("content", "")
        said.append(one.get("expression") or stated.get("id") or text or stated["name"])
    return " AND ".join(dict.fromkeys(one.strip().splitlines()[0] for one in said))


def images_and_extras() -> dict[str, str]:
    """The extras that each image installs, by the image's name."""
    stages = dict(
        re.findall(
            r"^FROM [\w-]+ AS (\w+)-dependencies$.*?^RUN sh install.sh (.+?)$", _text("docker/Dockerfile"), re.M | re.S
        )
    )
    of = {target: re.sub(r"\$\(.*\)", "tensorflow-cpu", extras) for target, extras in stages.items()}
    return {"python": of["slim"], "python-tensorflow": of["tensorflow"], "serve": of["serve"]}


def images() -> None:
    """The images, where there is a container engine."""
    if shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True).returncode:
        run("make", "images")
    else:
        print("!!!! SKIPPED: the images were not built: there is no container engine here !!!!")


def checksums() -> None:
    """SHA256SUMS of all that is published."""
    files = sorted(one for one in DIST.rglob("*") if one.is_file())
    lines = [f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.relative_to(DIST)}\n" for one in files]
    (DIST / "SHA256SUMS").write_text("".join(lines))
    print("".join(lines), end="")


def environment(folder: Path, extras: str) -> Path:
    """The bin folder of a new environment with the wheel and the dependencies that we pin."""
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    what = f"{_wheel()}[{extras}]" if extras else _wheel()
    run(UV, "pip", "install", "--quiet", "--python", folder, "--constraint", ROOT / "constraints.txt", what)
    return folder / "bin"


def tool(package: str, *command: object) -> None:
    """Run a tool that is not in our environment, at the version that we pin."""
    run(UV, "tool", "run", "--quiet", "--constraints", ROOT / "constraints.txt", "--from", package, *command)


def run(*command: object, quiet: bool = False) -> str:
    """Run a command in the repository; what it prints is shown, or with `quiet` returned and shown if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, text=True, stdout=subprocess.PIPE if quiet else None)
    if done.returncode and quiet:
        print(done.stdout)
    done.check_returncode()
    return done.stdout or ""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Address of a server of this machine that has the files of a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _fetched(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def _wheel() -> Path:
    return next((DIST / "python").glob("*.whl"))


def _text(path: str) -> str:
    return (ROOT / path).read_text()


if __name__ == "__main__":
    sys.exit(main())
