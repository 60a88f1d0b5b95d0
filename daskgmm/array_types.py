"""Types of NumPy arrays, for all modules."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""An array of float64."""
