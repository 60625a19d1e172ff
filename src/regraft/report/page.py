"""report.html: one file that needs nothing else, to be read on a screen, a phone or paper."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from regraft.report.blocks import Note, Section
from regraft.report.material import Material, read_material
from regraft.report.sections import sections
from regraft.report.words import visible
from regraft.run import Run, write_text


def write_report(run: Run) -> Path:
    """Write ``report.html`` of whatever the run folder holds.

    Raises:
        ResourceError: the file cannot be written.
    """
    material = read_material(run)
    found = [section for module in sections() if (section := _rendered(module, material)) is not None]
    page = (
        _templates()
        .get_template("report.html.j2")
        .render(
            name=run.folder.resolve().name,
            material=material,
            sections=found,
            finished=bool(material.last("end")),
        )
    )
    write_text(run.report, page)
    return run.report


def _rendered(module: ModuleType, material: Material) -> Section | None:
    """A section, or a line that says why it could not be drawn: one damaged file must not cost the others."""
    try:
        section: Section | None = module.render(material)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        name = module.__name__.rsplit(".", 1)[-1]
        told = f"The section {name!r} could not be drawn from this run's files ({type(error).__name__}: {error})."
        return Section(name, name.capitalize(), [Note(told, tone="warn")])
    return section


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("regraft.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """Every string that reaches the page, except what is markup of our own, has acting characters made visible."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
