"""The command line. One file a command: it parses, calls one function and prints one value.

Results go to stdout, progress and messages to stderr. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable

COMMANDS = (
    "init",
    "check",
    "plan",
    "tune",
    "resume",
    "evaluate",
    "compare",
    "predict",
    "merge",
    "soup",
    "rank",
    "rate",
    "report",
    "runs",
    "sweep",
    "cache",
)


def main() -> None:
    """Run the command line and exit with the code that ``regraft.errors`` lists."""
    from regraft.errors import RegraftError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character still gets the rest
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line in another encoding is told of, the others answered
    try:
        _app()()
    except RegraftError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == 130:  # of an interrupt that typer has seen before us
            print("error: stopped by SIGINT", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("error: stopped by SIGINT", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has enough
        sys.exit(0)


def _app() -> Callable[[], None]:
    import typer

    app = typer.Typer(
        name="regraft",
        help="Fine-tune pretrained models: one recipe, nothing silent.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in COMMANDS:
        app.command(name)(importlib.import_module(f"regraft.cli.{name}").command)
    app.callback()(importlib.import_module("regraft.cli._options").options)
    return app
