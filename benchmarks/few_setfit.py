"""SetFit on a subset of few labels: ``python -m benchmarks.few_setfit FOLDER``, in the environment of ``make setfit``.

Tunstall et al., "Efficient Few-Shot Learning Without Prompts", 2022, https://arxiv.org/abs/2209.11055; SetFit 1.2 as
it comes: CosineSimilarityLoss over one epoch of pairs, batches of 16 pairs, the body at 2e-5 with a tenth of warm-up,
then scikit-learn's logistic regression. Its sampling is "oversampling": all pairs within a class (a text with itself
too) and as many across, the fewer repeated. With n labels of each of two classes that are 2n(n + 1) pairs, for 8, 32,
128 and 512 labels 144, 2,112, 33,024 and 525,312; the last are 32,832 steps. ``--iterations R`` bounds them to 2R pairs
a text, as SetFit did before 1.0 with R = 20. ``--names`` adds eight rows of each class that say its name, with
SetFit's own ``get_templated_dataset`` and its sentence ("This sentence is {}").

``seconds`` are those of ``Trainer.train``. Not in it: imports, opening the model, and the test rows. Nothing is saved
on the way.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.subset import answer, read_rows, read_subset


def main() -> None:
    """Learn the folder's training rows and answer its test rows."""
    parser = argparse.ArgumentParser("benchmarks.few_setfit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--iterations", type=int, help="pairs a text: twice as many; else SetFit's own sampling")
    parser.add_argument("--names", action="store_true", help="learn from the names of the classes too")
    asked = parser.parse_args()
    _learn(asked.folder, asked.iterations, names=asked.names)


def _learn(folder: Path, iterations: int | None, *, names: bool) -> None:
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments, get_templated_dataset

    subset = read_subset(folder)
    if subset.images:
        raise SystemExit("SetFit learns texts only.")
    train, test = read_rows(folder, "train"), read_rows(folder, "test")
    model = SetFitModel(**_parts(subset.model), labels=sorted(subset.counts))
    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(
            output_dir=place,
            seed=subset.seed,
            num_iterations=iterations,
            save_strategy="no",
            report_to="none",
            show_progress_bar=False,
        )
        texts, labels = (list(column) for column in zip(*train, strict=True))
        if names:
            classes = sorted(subset.counts)
            said = get_templated_dataset(candidate_labels=classes, sample_size=8)
            texts += said["text"]
            labels += [classes[place] for place in said["label"]]
        trainer = Trainer(
            model=model, args=arguments, train_dataset=Dataset.from_dict({"text": texts, "label": labels})
        )
        begun = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begun
    steps = trainer.st_trainer.state.global_step
    answer([str(label) for label in model.predict([text for text, _ in test])], test, seconds, steps=steps)


def _parts(folder: str) -> dict[str, Any]:
    """The encoder as its folder says, or with the mean of the tokens' vectors where it does not; and the regression."""
    from sentence_transformers import SentenceTransformer, models
    from sklearn.linear_model import LogisticRegression

    body: Any
    if (Path(folder) / "modules.json").exists():
        body = SentenceTransformer(folder, device="cpu")
    else:
        encoder = models.Transformer(folder)
        pooling = models.Pooling(encoder.get_embedding_dimension(), pooling_mode="mean")
        body = SentenceTransformer(modules=[encoder, pooling, models.Normalize()], device="cpu")
    return {"model_body": body, "model_head": LogisticRegression()}


if __name__ == "__main__":
    main()
