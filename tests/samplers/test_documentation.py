"""docs/samplers.md: its example runs as written, and its table has every kernel."""

import re
from pathlib import Path

import pytest

from ebmpipe import registry
from ebmpipe.samplers import Summary

TEXT = (Path(__file__).parents[2] / "docs/samplers.md").read_text()


def test_the_example_prints_what_is_said(capsys):
    (example,), (output,) = (re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL) for kind in ("python", "text"))
    exec(compile(example, "docs/samplers.md", "exec"), {})
    printed, said = capsys.readouterr().out.splitlines(), output.splitlines()
    assert [line.rpartition(" ")[0] for line in printed] == [line.rpartition(" ")[0] for line in said]
    for line, expected in zip(printed, said, strict=True):
        assert float(line.rpartition(" ")[2]) == pytest.approx(float(expected.rpartition(" ")[2]), rel=0.02)


@pytest.mark.parametrize("name", registry.names("samplers"))
def test_every_kernel_and_setting_is_in_the_table(name):
    kernel = registry.load("samplers", name)
    (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{kernel.__name__}` `{name}` |")]
    assert all(f"`{setting}`" in row for setting in kernel.settings_model().model_fields)


def test_every_field_of_the_summary_is_explained():
    rows = re.findall(r"^\| `(\w+)` \| ", TEXT[TEXT.index("## What the summary says") :], re.MULTILINE)
    assert set(rows) == set(Summary.__dataclass_fields__)
