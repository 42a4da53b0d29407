"""A method of a user's own whose first update fails, for the test of what is shown of a failed job."""

from typing import Any

import torch
from torch import Tensor

from ebmpipe.methods.nce import NCE


class Broken(NCE):
    """NCE that fails."""

    name = "broken"

    def training_step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        raise ValueError("the wheel came off")
