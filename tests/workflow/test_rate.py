"""Snakemake's default limit of jobs a second is lifted on this machine, and no other limit."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest

RULES = Path(__file__).parents[2] / "workflow/rules/config.smk"


def lifted(limiter, local):
    """What the workflow makes of a scheduler's limiter."""
    (function,) = (node for node in ast.parse(RULES.read_text()).body if getattr(node, "name", "") == "lift_default_rate")
    scheduler = SimpleNamespace(job_rate_limiter=limiter)
    names = {"workflow": SimpleNamespace(scheduler=scheduler, local_exec=local)}
    exec(compile(ast.Module([function], []), str(RULES), "exec"), names)
    names["lift_default_rate"]()
    return scheduler.job_rate_limiter


@pytest.mark.parametrize(("jobs", "seconds", "local", "stays"), [(100, 1, True, False), (100, 1, False, True), (5, 60, True, True)])
def test_only_the_default_is_lifted_and_only_here(jobs, seconds, local, stays):
    limiter = SimpleNamespace(max_jobs=jobs, timespan=seconds)
    assert lifted(limiter, local) is (limiter if stays else None)


def test_without_a_limit_there_is_nothing_to_lift():
    assert lifted(None, True) is None
