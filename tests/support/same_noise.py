"""The same noise on every device: torch's generators on a CPU and on a GPU give different numbers from the same seed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Everything random that the package calls; each takes its generator by name.
DRAWN = ("rand", "randn", "randint", "randperm", "multinomial")


@contextmanager
def same_noise() -> Iterator[None]:
    """Inside, what is drawn from a generator on a GPU are the numbers of a CPU's of the same seed, moved there."""
    twins: dict[int, tuple[torch.Generator, torch.Generator]] = {}
    plain = {name: getattr(torch, name) for name in DRAWN}

    def twin(generator: torch.Generator) -> torch.Generator:
        # The original is kept beside its twin, so that no other comes to have its id.
        if id(generator) not in twins:
            twins[id(generator)] = generator, torch.Generator().manual_seed(generator.initial_seed())
        return twins[id(generator)][1]

    def moved(name: str):
        def draw(*args, generator=None, device=None, **kwargs):
            if generator is None or generator.device.type == "cpu":
                more = {} if device is None else {"device": device}
                return plain[name](*args, generator=generator, **more, **kwargs)
            of_cpu = [each.cpu() if isinstance(each, torch.Tensor) else each for each in args]
            return plain[name](*of_cpu, generator=twin(generator), **kwargs).to(generator.device)

        return draw

    try:
        for name in DRAWN:
            setattr(torch, name, moved(name))
        yield
    finally:
        for name, function in plain.items():
            setattr(torch, name, function)
