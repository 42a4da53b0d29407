"""A kernel whose steps cost a random number of gradients, for tests of what must follow from that."""

import torch

from ebmpipe.samplers.base import Info, Kernel, StepSize
from ebmpipe.samplers.ula import ULA


class Dice(Kernel):
    """One to three steps of ULA in each step."""

    name, revision, gradients_per_step, random_cost = "dice", 1, 3, True

    def __init__(self, step_size: StepSize) -> None:
        self.step_size = step_size
        self.ula = ULA(step_size)

    def init(self, energy, x):
        return self.ula.init(energy, x)

    def step(self, energy, state, generator):
        steps = int(torch.randint(1, 4, (), generator=generator))
        for _ in range(steps):
            state, info = self.ula.step(energy, state, generator)
        return state, Info(info.accept_prob, info.gradient, evaluations=steps * len(state.x))
