"""Arguments of the optimizers' kernels."""

import numpy as np


def numbers(*own, shrink=0.0, decay=0.0, clipvalue=np.inf, clipnorm=np.inf, ema=(0.0, 0)):
    """What an optimizer's kernel reads that may change from step to step."""
    result = np.zeros(11)
    result[: 4 + len(own)] = shrink, decay, clipvalue, clipnorm, *own
    result[9:] = ema
    return result
