"""Types of NumPy arrays that all rooms share."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""An array of float64."""
