"""Is the data sound? What would make scores untrue, and what is worth a look before anything is learned.

    findings     the nouns: a row, a case, a finding, all that was found
    look         all that is looked for, in its order
    duplicates   rows that say the same; texts and pictures say how that is seen
    groups       groups on two sides
    labels       labels that are likely wrong
    shortcuts    what alone predicts the label
    balance      classes of which there are few
    inputs       inputs of which nothing can be learned
    clean        the table that is suggested

Nothing is removed: what is found is told, with its rows.
"""

from regraft.quality.clean import export_clean, left_out
from regraft.quality.findings import Finding, Item, Level, Place, Quality
from regraft.quality.look import look, look_by_model, require_sound

__all__ = [
    "Finding",
    "Item",
    "Level",
    "Place",
    "Quality",
    "export_clean",
    "left_out",
    "look",
    "look_by_model",
    "require_sound",
]
