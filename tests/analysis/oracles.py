"""Statistics by their definitions, at any cost."""

import numpy as np


def bell_mccaffrey(design, combination):
    """Degrees of freedom by the definition, with the whole n × n matrix."""
    inverse = np.linalg.pinv(design)
    rest = np.eye(len(design)) - design @ inverse
    weight = np.diag((combination @ inverse) ** 2 / np.diag(rest))
    return np.trace(weight @ rest) ** 2 / np.trace(weight @ rest @ weight @ rest)
