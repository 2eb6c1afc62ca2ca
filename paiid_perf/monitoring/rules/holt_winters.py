"""Exponential smoothing by statsmodels, where it is installed (``paiid-perf[forecast]``): one more candidate.

Its factors, the damping of its trend and where it begins are fitted together (Holt and Winters; Gardner and McKenzie,
"Forecasting trends in time series", Management Science 1985); ``forecast.smoothing`` tries a few factors.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from paiid_perf.monitoring.rules.forecast import SEASONS_LEARNT, TREND_STEPS, Method

NAME = "Holt-Winters (statsmodels)"
#: A forecast that says nothing: it is never the best.
NOTHING = float("nan")


def methods() -> Mapping[str, Method]:
    """The method by its name; empty where statsmodels is not installed."""
    return {NAME: holt_winters} if find_spec("statsmodels") else {}


def holt_winters(values: Sequence[float], season: int, steps: int) -> list[float]:
    """A level, a damped trend and, once it can be learnt, a season; NOTHING at each step where no fit can be had."""
    import numpy as np
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    recent = np.asarray(values[-TREND_STEPS:], dtype=float)
    seasonal = len(recent) >= SEASONS_LEARNT * season
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of fits that do not converge, too: the back-test judges
            model = ExponentialSmoothing(
                recent,
                trend="add",
                damped_trend=True,
                seasonal="add" if seasonal else None,
                seasonal_periods=season if seasonal else None,
                initialization_method="heuristic" if len(recent) >= 10 else "estimated",
            )
            return [float(value) for value in model.fit(use_brute=False).forecast(steps)]
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return [NOTHING] * steps
