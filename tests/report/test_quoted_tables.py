"""The tables in README and docs are copies of results."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/quote-tables"
SUMMARY = """# Summary

## `digits`

| method | finished | nll\\_gap ↓ (nats) | training (s) | training FLOPs |
| --- | --: | --: | --: | --: |
| `pcd` | 2/2 | **0.1 ± 0.2** | 12.3<sup>a</sup> | 3×10⁸ |

- <sup>a</sup> a note
"""
PAGE = """Before.

<!-- table summary.md digits: method, nll_gap, training (s) -->
| what stood here |
<!-- end of table -->
After.
"""


def quote(folder: Path, page: str) -> subprocess.CompletedProcess[str]:
    (folder / "page.md").write_text(page)
    return subprocess.run([shutil.which("python3") or "python3", SCRIPT, "page.md"], cwd=folder, capture_output=True, text=True)


def test_columns_are_quoted_and_quoting_again_changes_nothing(tmp_path):
    (tmp_path / "summary.md").write_text(SUMMARY)
    assert quote(tmp_path, PAGE).returncode == 0
    once = (tmp_path / "page.md").read_text()
    table = "| method | nll\\_gap ↓ (nats) | training (s) |\n| --- | --: | --: |\n| `pcd` | **0.1 ± 0.2** | 12.3 |"
    assert once == PAGE.replace("| what stood here |", table)
    assert quote(tmp_path, once).returncode == 0
    assert (tmp_path / "page.md").read_text() == once


def test_a_page_that_cannot_be_brought_up_to_date_is_left_as_it_is(tmp_path):
    for page, why in (
        (PAGE, "summary.md"),
        (PAGE.replace("digits", "rings"), "no section 'rings'; it has digits"),
        (PAGE.replace("nll_gap", "fid"), "0 columns of 'digits' are called 'fid'"),
        (PAGE.replace("training (s)", "training"), "2 columns of 'digits' are called 'training'"),
        ("No table.\n", "quotes no table"),
    ):
        if why != "summary.md":
            (tmp_path / "summary.md").write_text(SUMMARY)
        done = quote(tmp_path, page)
        assert done.returncode == 1 and why in done.stderr, done.stderr
        assert (tmp_path / "page.md").read_text() == page


def test_quotes_of_the_repository_are_of_configs_that_are_in_it():
    configs = [yaml.safe_load(path.read_text()) for path in (ROOT / "config").glob("*.yaml")]
    offered = {(config.get("results", "results"), dataset) for config in configs for dataset in config["datasets"]}
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    quotes = [quote for page in pages for quote in re.findall(r"<!-- table (\S+)/tables/summary.md (\S+):", page.read_text())]
    assert quotes and set(quotes) <= offered


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name)
def test_every_image_that_a_page_shows_is_there(page):
    text = page.read_text()
    named = re.findall(r"!\[[^\]]*\]\(([^)\s]+)", text)
    assert len(named) == text.count("![")
    missing = [name for name in named if not name.startswith("https://") and not (page.parent / name).is_file()]
    assert not missing, f"{page.name} shows {', '.join(missing)}"
