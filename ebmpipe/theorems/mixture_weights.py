"""Score matching does not see how much mass each of two distant modes has."""

from __future__ import annotations

import numpy as np

from ebmpipe.theorems.base import Measured, Theorem
from ebmpipe.theorems.laws import Mixture, divergence, fisher_divergence, grid

#: Half the distance of two modes of unit variance; the weight of one in the data and in the model.
PLACES = np.linspace(0.0, 8.0, 65)
DATA_WEIGHT, MODEL_WEIGHT = 0.5, 0.9
#: Standard deviation of noise that the modes are far from no longer.
NOISE = 4.0


class MixtureWeights(Theorem):
    """Two mixtures of the same two modes, of unit variance at ±m, that differ in the weights alone.

    KL comes to the divergence of the weights, while D_F falls like the density between the modes, exp(-m²/2). Noise that bridges the gap
    brings it back, which is what many noise levels are for.
    """

    name = "mixture_weights"
    revision = 1
    title = "blindness to weights"
    statement = "D_F(q ‖ p) = O(exp(−m²/2)) while KL(q ‖ p) → KL of the weights, modes at ±m"
    source = "Wenliang & Kanagawa 2020; Song & Ermon 2019"
    methods = ("score_matching",)
    panel = "blindness"

    @staticmethod
    def divergences(place: float, noise: float = 0.0) -> tuple[float, float]:
        """D_F and KL, in nats, of the two with modes at ± ``place``, after Gaussian noise of standard deviation ``noise``."""
        means, variances = (-place, place), (1.0 + noise**2,) * 2
        q, p = (Mixture((weight, 1 - weight), means, variances) for weight in (DATA_WEIGHT, MODEL_WEIGHT))
        reach = place + 12 * variances[0] ** 0.5
        x, h = grid(-reach, reach, 2001)
        fisher = fisher_divergence(q.log_density(x).exp(), q.score(x), p, x, h)
        return fisher, float(divergence(q, p, x, h))

    def measure(self) -> Measured:
        sharp = np.array([self.divergences(float(place)) for place in PLACES])
        noisy = np.array([self.divergences(float(place), NOISE)[0] for place in PLACES])
        arrays = {"places": PLACES, "fisher": sharp[:, 0], "kl": sharp[:, 1], "fisher_noisy": noisy}
        weights = np.array([[DATA_WEIGHT, 1 - DATA_WEIGHT], [MODEL_WEIGHT, 1 - MODEL_WEIGHT]])
        numbers = {
            "kl_of_weights": float((weights[0] * np.log(weights[0] / weights[1])).sum()),
            "fisher_at_8": float(sharp[-1, 0]),
            "kl_at_8": float(sharp[-1, 1]),
            "fisher_noisy_at_8": float(noisy[-1]),
            "noise": NOISE,
            "data_weight": DATA_WEIGHT,
            "model_weight": MODEL_WEIGHT,
        }
        return Measured(arrays, numbers)
