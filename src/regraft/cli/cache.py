"""regraft cache"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[clear [STORE]...]", help="clear removes; without it they are listed."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="With clear: remove all stores.")] = False,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0, help="With clear: remove those not used for so many days.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what frozen parts of models have given, which is kept to be read again; or remove it."""
    from regraft.errors import RecipeError
    from regraft.frozen.store import list_stores, store_root

    action, *named = words or ["list"]
    if action not in {"list", "clear"} or (action == "list" and (named or everything or older_than is not None)):
        raise RecipeError(
            f"regraft cache {' '.join(words or [])}: not understood", fix="regraft cache, or regraft cache clear STORE"
        )
    root = store_root()
    stores = list_stores(root)
    if action == "list":
        found: Any = {"folder": str(root), "bytes": sum(store["bytes"] for store in stores), "stores": stores}
        print(json.dumps(found, ensure_ascii=False) if as_json else "\n".join(_listed(stores, root)))
        return
    removed, kept = _clear(_meant(stores, named, everything=everything, older_than=older_than))
    if as_json:
        print(json.dumps({"removed": removed, "in_use": kept, "bytes": sum(each["bytes"] for each in removed)}))
        return
    print("\n".join(_cleared(removed, kept)))


def _listed(stores: Sequence[Mapping[str, Any]], root: object) -> Iterator[str]:
    from regraft.cli._show import columns

    if not stores:
        yield f"nothing is stored in {root}"
        return
    rows = [["store", "size", "model", "blocks", "rows", "type", "used"], *(_row(store) for store in stores)]
    yield from columns(rows)
    several = "1 store" if len(stores) == 1 else f"{len(stores)} stores"
    yield f"{several}, {_size(sum(store['bytes'] for store in stores))}, in {root}"


def _row(store: Mapping[str, Any]) -> list[str]:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(store["used"]))
    of = [str(store.get(key, "?")) for key in ("model", "height", "reading")]
    return [store["store"][:12], _size(store["bytes"]), *of, store["dtype"].removeprefix("torch."), used]


def _meant(
    stores: Sequence[Mapping[str, Any]], named: Sequence[str], *, everything: bool, older_than: float | None
) -> list[Mapping[str, Any]]:
    """The stores that are to go.

    Raises:
        RecipeError: it is not said which, said in two ways, or a name fits none or several.
    """
    from regraft.errors import RecipeError

    if [bool(named), everything, older_than is not None].count(True) != 1:
        raise RecipeError(
            "clear which stores?", fix="name them as `regraft cache` does, or say --all or --older-than 7"
        )
    if everything:
        return list(stores)
    if older_than is not None:
        return [store for store in stores if store["used"] < time.time() - older_than * 86_400]
    return [_one(stores, name) for name in dict.fromkeys(named)]


def _one(stores: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    from regraft.errors import RecipeError

    found = [store for store in stores if store["store"].startswith(name)]
    if len(found) != 1:
        several = "several stores begin" if found else "no store begins"
        raise RecipeError(f"{several} with {name!r}", fix="`regraft cache` lists them")
    return found[0]


def _clear(stores: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Remove stores. Returns what was removed, and what was not since a process uses it."""
    from regraft.frozen.store import remove_store, store_root

    removed: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    for store in stores:
        gone = remove_store(store_root() / store["store"])
        (removed if gone else kept).append({"store": store["store"], "bytes": store["bytes"]})
    return removed, kept


def _cleared(removed: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for store in kept:
        yield f"{store['store'][:12]} is in use by a process and was not removed"
    yield f"removed {len(removed)}, {_size(sum(store['bytes'] for store in removed))}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
