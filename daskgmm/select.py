"""How many components, and of which covariance type: many fits for the passes of one."""

import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from distributed import Client
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from daskgmm.data.metered import Pass
from daskgmm.data.passes import machines
from daskgmm.errors import ParameterError
from daskgmm.estimators import GaussianMixture
from daskgmm.fit.comparison import Candidate, Comparison, compare
from daskgmm.fit.criteria import CRITERIA, criterion_of
from daskgmm.fit.driver import Fit, Settings
from daskgmm.fit.observers import Observer, observer_of
from daskgmm.fit.plan import plan_fit
from daskgmm.fit.state import Outcome
from daskgmm.fitted import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
