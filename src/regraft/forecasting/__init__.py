"""What a run will take, measured and not guessed: a few real batches go through the very code that the run will use.

sample          which rows stand for all
rehearsal       the run itself on those rows, with a copy of the model, in a folder and a store that go away
extrapolation   from what was seen to the whole run
comparison      the same for every strategy, and the one to choose within a budget
"""

from regraft.forecasting.comparison import Refused, choose, compare, nearest
from regraft.forecasting.extrapolation import Forecast, PhaseForecast, forecast, foresee

__all__ = ["Forecast", "PhaseForecast", "Refused", "choose", "compare", "forecast", "foresee", "nearest"]
