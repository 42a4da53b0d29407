"""Sets of examples that are not of the data: what an energy is to tell from them."""

#: Bumped when the same sets would give other examples.
REVISION = 2
