"""Which column of a file is what."""

from __future__ import annotations

from collections.abc import Sequence

from regraft.data.cells import broken, shown
from regraft.data.example import Column
from regraft.errors import DataError, RecipeError
from regraft.recipe import DataOptions, nearest, unknown_key

_LISTED = 30  # names in a message


def recognise(
    header: Sequence[str],
    columns: Sequence[Column],
    options: DataOptions,
    *,
    file: str,
    targets: bool = True,
    named: bool = True,
) -> dict[str, str]:
    """Map the names of the task's columns to the names in the header of ``file``.

    What ``data.columns`` says comes first, then equal names, then synonyms (case and surrounding space do not
    count). In a file of two columns with one found, the other is the one still missing. Without ``targets``,
    for prediction, a target may be missing, and a file of one column is the input. Where the columns are not
    ``named`` by a person, as those of a folder are not, no other column is taken for the one still missing.

    Raises:
        RecipeError: ``data.columns`` names a column that the task does not read, or one header twice.
        DataError: a column is not found, or several could be it; the message lists the header and says what
        to write.
    """
    columns = [column for column in columns if targets or column.role == "input" or _found(column, header, options)]
    mapping = _explicit(header, columns, options, file=file)
    mapping |= {c.name: c.name for c in columns if c.name not in mapping and c.name in _free(header, mapping)}
    for column in columns:
        if column.name not in mapping:
            mapping |= _by_synonym(column, _free(header, mapping), file=file)
    if named:
        mapping |= _remaining(header, columns, mapping)
    for column in columns:
        if column.required and column.name not in mapping:
            raise _not_found(column, header, mapping, file=file)
    if targets and options.group is not None and options.group not in header:
        raise _no_such_name("data.group", options.group, header, file=file)
    return mapping


def check_keys(columns: Sequence[Column], options: DataOptions) -> None:
    """Whether ``data.columns`` names columns that the task reads, each header once.

    Raises:
        RecipeError: it does not.
    """
    known = [f"data.columns.{column.name}" for column in columns]
    for key, name in options.columns.items():
        if f"data.columns.{key}" not in known:
            raise unknown_key(f"data.columns.{key}", known, "the recipe")
        if list(options.columns.values()).count(name) > 1:
            raise RecipeError(
                f"data.columns names {shown(name)} twice", fix="each column of the file is one thing only"
            )


def _found(column: Column, header: Sequence[str], options: DataOptions) -> bool:
    """Whether a target is plainly there. Prediction never asks for one, but does not take it for an input."""
    if column.name in options.columns:
        return options.columns[column.name] in header
    return column.name in header or len(_candidates(column, header)) == 1


def _explicit(header: Sequence[str], columns: Sequence[Column], options: DataOptions, *, file: str) -> dict[str, str]:
    read = {column.name for column in columns}
    mapping = {key: name for key, name in options.columns.items() if key in read}
    for key, name in mapping.items():
        if name not in header:
            raise _no_such_name(f"data.columns.{key}", name, header, file=file)
    return mapping


def _free(header: Sequence[str], mapping: dict[str, str]) -> list[str]:
    taken = set(mapping.values())
    return [name for name in header if name not in taken]


def _candidates(column: Column, names: Sequence[str]) -> list[str]:
    known = {name.strip().casefold() for name in (column.name, *column.synonyms)}
    return [name for name in names if name.strip().casefold() in known]


def _by_synonym(column: Column, names: Sequence[str], *, file: str) -> dict[str, str]:
    candidates = _candidates(column, names)
    if len(candidates) > 1:
        raise broken(
            file,
            1,
            f"several columns could be {column.name!r}: {_listed(candidates)}",
            fix=f"say which, for example data.columns.{column.name}={candidates[0]}",
        )
    return {column.name: candidates[0]} if candidates else {}


def _remaining(header: Sequence[str], columns: Sequence[Column], mapping: dict[str, str]) -> dict[str, str]:
    """The one column not found yet, where there is one input and one name that is left of at most two."""
    inputs = [column for column in columns if column.role == "input" and column.required]
    missing = [column for column in columns if column.required and column.name not in mapping]
    free = _free(header, mapping)
    if len(header) > 2 or len(inputs) != 1 or len(missing) != 1 or len(free) != 1:
        return {}
    return {missing[0].name: free[0]}


def _not_found(column: Column, header: Sequence[str], mapping: dict[str, str], *, file: str) -> DataError:
    free = _free(header, mapping)
    guess = _nearest(column.name, free) or next(iter(free), "NAME")
    return broken(
        file,
        1,
        f"no column is known to be {column.name!r}; the header has {_listed(header)}",
        fix=f"say which it is, for example data.columns.{column.name}={_short(guess)}",
    )


def _no_such_name(key: str, name: str, header: Sequence[str], *, file: str) -> DataError:
    near = _nearest(name, header)
    guess = f"did you mean {key}={_short(near)}?" if near else "name one of them"
    return broken(file, 1, f"{key} = {shown(name)} is not in the header, which has {_listed(header)}", fix=guess)


def _nearest(name: str, names: Sequence[str]) -> str | None:
    """The nearest of the names that a person could have meant; what is no header can be very long."""
    return nearest(name, [known for known in names[:1000] if len(known) <= 100])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(shown(name) for name in names[:_LISTED]) + more if names else "no columns"


def _short(name: str) -> str:
    return name if len(name) <= 60 and name.isprintable() else shown(name)
