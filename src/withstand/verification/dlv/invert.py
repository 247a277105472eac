"""Back from a manipulated activation to an input that gives it, or nearly: a mixed-integer program over the layers
between, exact but for the solver's tolerance. The 2016 code passes ReLUs back as the identity, and so often comes to an
input whose activation is another one; here what comes back is what the layers give.
"""

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from threadpoolctl import threadpool_limits
from torch import Tensor

from withstand.verification.bounds.crown import relax_network
from withstand.verification.exact.encoding import Encoding, encode
from withstand.verification.network.network import Network
from withstand.verification.specification.box import Region


class Inverse:
    """The layers up to one, over a box of inputs, ready to be asked for inputs.

    Args:
        network: from the input to the layer, in float64.
        low: smallest inputs, one sample's shape.
        high: largest inputs.

    Raises:
        ConfigError: an operation that has no exact encoding.
    """

    def __init__(self, network: Network, low: Tensor, high: Tensor) -> None:
        region = Region.box(low[None].double(), high[None].double())
        self._shape = network.shape
        self._encoding: Encoding = encode(network, relax_network(network, region).boxes)
        self._rows = self._encoding.matrix()

    def __call__(self, target: Tensor, dims: Tensor, *, timeout: float = 10.0) -> tuple[Tensor, float] | None:
        """Return an input of the box whose activation comes nearest to the target, and how near.

        Args:
            target: values of the chosen dimensions, `(P,)`.
            dims: flat dimensions of the layer; the others are free.
            timeout: seconds.

        Returns:
            The input and the largest difference in a chosen dimension; None when the time was not enough to find any.
        """
        encoding, (matrix, low, high) = self._encoding, self._rows
        assert encoding.output is not None
        count = len(encoding.low)
        factors = encoding.output.widened(count).flatten(1)[:, dims].T.numpy()
        shift = (target - encoding.output.constant.flatten()[dims]).numpy()
        ones = np.ones((len(shift), 1))
        # One more variable: the largest difference, which is to be small.
        rows = sparse.vstack(
            [
                sparse.hstack([matrix, sparse.csr_array((matrix.shape[0], 1))]),
                sparse.csr_array(np.concatenate([factors, -ones], axis=1)),
                sparse.csr_array(np.concatenate([factors, ones], axis=1)),
            ]
        )
        free = np.full(len(shift), np.inf)
        goal = np.zeros(count + 1)
        goal[-1] = 1
        with threadpool_limits(1):
            found = milp(
                goal,
                integrality=np.array([*encoding.binary, False], dtype=int),
                bounds=Bounds(np.array([*encoding.low, 0.0]), np.array([*encoding.high, np.inf])),
                constraints=LinearConstraint(
                    rows, np.concatenate([low, -free, shift]), np.concatenate([high, shift, free])
                ),
                options={"time_limit": timeout},
            )
        if found.x is None:
            return None
        inputs = int(torch.Size(self._shape).numel())
        return torch.from_numpy(np.array(found.x[:inputs])).view(self._shape), float(found.fun)
