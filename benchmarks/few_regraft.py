"""regraft on a subset of few labels, in a process of its own: ``python -m benchmarks.few_regraft STRATEGY FOLDER``.

The recipe says the task, the model, the rows and the strategy, and leaves all else as it comes. ``seconds`` are those
from the recipe to the tuned model: reading all rows, opening the model, for ``auto`` looking and choosing, filling the
store, training. Not in it: imports, for which everything is prepared once before, and answering the test rows, which is
done as training computes, mostly in bf16. Nothing is saved on the way.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.few_labels import data_of
from benchmarks.subset import answer, read_rows, read_subset


def main(strategy: str, folder: Path) -> None:
    """Learn the folder's training rows and answer its test rows."""
    import regraft
    from regraft.recipe import StrategyOptions
    from regraft.sources import make_rows
    from regraft.tuned import Tuned
    from regraft.tuning import make_loop

    subset = read_subset(folder)
    task = "image-classification" if subset.images else "text-classification"
    recipe = regraft.make_recipe(
        {
            "task": task,
            "model": subset.model,
            "data": data_of(folder, subset),
            "strategy": strategy,
            "evaluation": {"baselines": False},
            "seed": subset.seed,
        }
    )
    regraft.prepare(recipe.model_copy(update={"strategy": StrategyOptions()}))  # imports what it needs
    begun = time.perf_counter()
    prepared = regraft.prepare(recipe)
    loop = make_loop(prepared, None)
    steps = sum(event.name == "step" for event in loop.events())
    loop.use_best()
    seconds = time.perf_counter() - begun
    tuned = Tuned(prepared.pretrained, prepared.task, task, prepared.answers)
    rows = make_rows(prepared.splits.test, prepared.task, prepared.answers, prepared.pretrained)
    with prepared.device.computing():
        chosen = tuned.outputs(rows.encoded, batch_size=recipe.evaluation.batch_size).argmax(axis=1)
    taken = prepared.recipe.strategy.name
    told = [prepared.answers.names[place] for place in chosen]
    answer(told, read_rows(folder, "test"), seconds, steps=steps, strategy=taken)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
