"""How to repeat it: the command, the resolved recipe and what it ran on."""

from __future__ import annotations

import shlex

from regraft.report.blocks import Block, Code, Section, Table
from regraft.report.material import Material

PLACE = 90


def render(material: Material) -> Section | None:
    start = material.last("start")
    blocks: list[Block] = []
    if start.get("command"):
        blocks.append(Code("This command made the run.", str(start["command"])))
    if material.recipe_text:
        again = f"regraft tune {shlex.quote(str(material.run.folder / 'recipe.yaml'))} name=again"
        blocks.append(Code("This one repeats it from its own recipe: same machine and versions, same weights.", again))
        blocks.append(Code("The recipe with every option spelled out.", material.recipe_text.rstrip()))
    environment = start.get("environment") or {}
    if environment:
        rows = [[str(name), str(value)] for name, value in environment.items()]
        blocks.append(
            Table("What it ran on; other versions may give other digits.", ["What", "Version"], rows, numeric=2)
        )
    return Section("again", "How to repeat it", blocks) if blocks else None
