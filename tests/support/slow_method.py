"""A method one of whose updates lasts far longer than a scheduler waits, unless the environment says that there is no hurry."""

import os
import time

from ebmpipe.methods.template import Template


class Slow(Template):
    """Its third update takes a second and is done; its fourth changes its weights and then never ends."""

    name = "slow_method"

    def training_step(self, batch, generator):
        done = int(self.learner.updates)
        report = super().training_step(batch, generator)
        if "HURRY" not in os.environ:
            time.sleep(1.05 if done == 2 else 0)
            while done == 3:
                time.sleep(0.05)
        return report
