"""A method of a user's own that builds on another run, for the tests of required runs."""

from ebmpipe.methods import Reference, Setup
from ebmpipe.methods.nce import NCE


class Tilted(NCE):
    """NCE whose noise has the width that the run behind it was given."""

    name = "tilted"
    references = (Reference("nobody", "nothing", 2026),)
    requires = ("backbone",)

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.noise.std = setup.required["backbone"].base.std
