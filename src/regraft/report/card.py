"""model/README.md: the model card (Mitchell et al., 2019) with the front matter that model hubs read.

It says what was measured and leaves out what nobody told us: the licence is unknown unless given, and no row
of the data is quoted, because a card is published where the data may not be.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePath
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from regraft.errors import RegraftError
from regraft.report.material import Material, read_material
from regraft.report.words import baselines_in_words, count, interval, meaning_of, number, system_of, title_of, visible
from regraft.run import Run, read_json, write_text

# What hubs call a task and a metric, where they have another word for it. BLEU is counted as theirs of sacrebleu is.
_PIPELINES = {"text-regression": "text-classification", "image-regression": "image-classification"}
_HUB_METRICS = {
    "macro_f1": "f1", "micro_f1": "f1", "auc": "roc_auc", "mse": "mse", "mae": "mae", "r2": "r_squared",
    "spearman": "spearmanr", "pearson": "pearsonr", "bleu": "sacrebleu",
}  # fmt: skip
_PACKAGED = {
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "whisper-tiny.en": "openai/whisper-tiny.en",
}
# Architectures of regraft.pretrained, beside those whose names begin with ``regraft-``.
_OURS = ("ge2e_speaker", "piper_vits", "ssru")
# What models without a hub id of their own are, and where they come from.
_ORIGINS = {
    "efficientnet-lite0": "EfficientNet-Lite0, trained on ImageNet-1k (Tan and Le, 2019), Apache-2.0",
    "centernet-coco": "MobileNetV3-CenterNet, trained on COCO; its weights come without a licence, so that "
    "nothing derived from them may be published",
    "bergamot-en-pt": "a translation model of Firefox, English to Portuguese, of the Bergamot project "
    "(https://browser.mt); its weights come without a licence, so that nothing derived from them may be published",
    "smollm2-135m": "SmolLM2-135M-Instruct (Allal et al., 2025), Apache-2.0, here from a file with 4 bits for most "
    "weights, so that it is a little worse than the original",
    "smollm2-135m-4": "the embeddings, the first 4 of 30 layers and the last norm of SmolLM2-135M-Instruct (Allal et "
    "al., 2025), Apache-2.0; it writes no sensible texts until it is trained",
    "whisper-tiny.en": "Whisper tiny.en (Radford et al., 2022), English speech recognition by OpenAI, MIT; its weights "
    "were rounded to half precision on the way",
    "joe": "en_US-joe-medium, an American English voice of Piper (VITS; Kim et al., 2021), whose model card says CC0 "
    "of the recordings, on which the voice lessac was tuned further",
}


def write_card(run: Run) -> Path:
    """Write ``model/README.md`` of whatever the run folder holds.

    Raises:
        ResourceError: the file cannot be written.
    """
    material = read_material(run)
    path = run.model / "README.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    front = yaml.safe_dump(_front_matter(material), sort_keys=False, allow_unicode=True, width=110)
    text = _templates().get_template("card.md.j2").render(
        front=visible(front),
        name=run.folder.resolve().name,
        base=_base_model(material) or _model_name(material),
        origin=_ORIGINS.get(_model_name(material)),
        pipeline=_pipeline(material),
        baselines=baselines_in_words(material.baselines, material.kind),
        ours=_needs_regraft(material),
        example=_example(material),
        sounds=material.of_sounds,
        signatures={title_of(name): how for name, how in (material.scores.get("signatures") or {}).items()},
        unit=material.unit,
        material=material,
        scores=material.scores,
        data=material.plan.get("data") or {},
        data_name=_data_name(material),
        systems=[system_of(name, material.kind) for name in material.baselines],
        rows=_rows(material),
        environment=material.last("start").get("environment") or {},
        command=material.last("start").get("command"),
    )  # fmt: skip
    write_text(path, text)
    return path


def _front_matter(material: Material) -> dict[str, Any]:
    base = _base_model(material)
    relation = "adapter" if _json_of(material, "regraft.json").get("base") else "finetune"
    tuned = {"base_model": base, "base_model_relation": relation} if base else {}
    metrics = list(dict.fromkeys(_HUB_METRICS.get(name, name) for name in material.scores.get("test") or {}))
    return {
        "library_name": "transformers",
        "pipeline_tag": _pipeline(material),
        "license": "unknown",
        **tuned,
        "tags": ["regraft"],
        **({"metrics": metrics} if metrics else {}),
        **({"model-index": [_index(material)]} if metrics else {}),
    }


def _index(material: Material) -> dict[str, Any]:
    """Name and results, as hubs show them beside a model."""
    metrics = [
        {"type": _HUB_METRICS.get(name, name), "name": title_of(name), "value": round(estimate["value"], 6)}
        for name, estimate in material.scores["test"].items()
        if isinstance(estimate.get("value"), int | float)
    ]
    data = {"name": _data_name(material), "type": "custom", "split": "test"}
    task = {"type": _pipeline(material), "name": material.task}
    return {
        "name": material.run.folder.resolve().name,
        "results": [{"task": task, "dataset": data, "metrics": metrics}],
    }


def _pipeline(material: Material) -> str:
    return _PIPELINES.get(material.task, material.task)


def _needs_regraft(material: Material) -> str:
    """Why plain transformers does not give the model's answers; nothing where it does."""
    if _json_of(material, "regraft.json").get("base"):
        return f"it is an adapter, and regraft finds the model that it belongs to; {_of_the_adapter(material)}"
    if (material.recipe.get("model") or {}).get("head") == "mean" or _head(material) not in {"own", ""}:
        return "its head lies in head.safetensors, which transformers does not read"
    architecture = str(_json_of(material, "config.json").get("model_type") or "")
    if architecture.startswith("regraft-") or architecture in _OURS:
        return "its architecture is regraft's own, which transformers does not have"
    if material.kind == "speech":
        return "it draws the chance in its speech from the text, so that it always says the same"
    if (material.recipe.get("task") or {}).get("target_language"):
        return "it is told which languages to read and to write"
    return "its numbers are in units of the training data" if material.task == "image-regression" else ""


def _of_the_adapter(material: Material) -> str:
    """What else can be done with an adapter."""
    kind = _json_of(material, "adapter_config.json").get("peft_type")
    if kind in ("LORA", "IA3"):
        return "`regraft merge` makes one that is whole"
    return "no other program knows its kind" if kind == "BOTTLENECK" else "peft opens it on that model too"


def _example(material: Material) -> str:
    """What the model is given in the card's lines of code, as Python."""
    if material.of_images or material.of_sounds:
        return '"photo.jpg"' if material.of_images else '"recording.wav"'
    if material.unit == "conversation":
        return '[{"role": "user", "content": "some text"}]'
    prefix = (material.recipe.get("task") or {}).get("prefix") or ""
    return json.dumps(f"{visible(str(prefix))}some text", ensure_ascii=False)


def _head(material: Material) -> str:
    """The head as the model's folder names it: ``own`` where it is the architecture's."""
    return str(_json_of(material, "regraft.json").get("head") or "")


def _json_of(material: Material, name: str) -> dict[str, Any]:
    """A file of the model's folder; nothing where it is not there or damaged."""
    path = material.run.model / name
    try:
        found = read_json(path) if path.is_file() else {}
    except (OSError, ValueError, RegraftError):
        return {}
    return found if isinstance(found, dict) else {}


def _model_name(material: Material) -> str:
    """What the recipe calls the model; of a folder, its last part, since paths are nobody's business."""
    return PurePath(str((material.recipe.get("model") or {}).get("name", "unknown"))).name


def _base_model(material: Material) -> str | None:
    """The hub id of the model that was tuned, where it has one."""
    named = str((material.recipe.get("model") or {}).get("name", ""))
    if named in _PACKAGED:
        return _PACKAGED[named]
    is_id = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", named) and not Path(named).exists()
    return named if is_id else None


def _data_name(material: Material) -> str:
    given = (material.recipe.get("data") or {}).get("train")
    return PurePath(str(given)).name if given else "unknown"


def _rows(material: Material) -> list[list[str]]:
    """The table of scores: metric, value, interval, each baseline."""
    rows = []
    for name, estimate in (material.scores.get("test") or {}).items():
        theirs = [number((values.get(name) or {}).get("value")) for values in material.baselines.values()]
        rows.append([title_of(name), number(estimate.get("value")), interval(estimate), *theirs])
    return rows


def _templates() -> Environment:
    """Templates of markdown: what is written by others is made plain text of it."""
    templates = Environment(
        loader=PackageLoader("regraft.report"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(plain=_plain, code=_code, count=count, title_of=title_of, meaning_of=meaning_of)
    return templates


def _plain(text: Any) -> str:
    """Text on one line in which nothing is markdown or HTML."""
    line = " ".join(visible(str(text)).split())
    return re.sub(r"([\\`*_\[\]<>|#~&$])", r"\\\1", line)


def _code(text: Any) -> str:
    """Text for a fenced block, which it cannot close; of a path from the root, the last part is enough to publish."""
    without_folders = re.sub(r"(?<![\w:/.~-])(?:/[^\s/'\"]+)*/(?=[^\s/'\"])", "", visible(str(text)))
    return without_folders.replace("```", "'''").strip()
