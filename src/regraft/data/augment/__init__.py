"""Augmentation: more training data from the same examples.

Every change is a pure function of (sample, options, (seed, view, example id)): neither workers nor batches nor resuming
can alter it, and it touches no global random state.
"""
