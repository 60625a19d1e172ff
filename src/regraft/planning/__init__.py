"""What will train and what it takes, before anything is spent."""

from regraft.planning.plan import Part, Plan, parts_of

__all__ = ["Part", "Plan", "parts_of"]
