"""The report's first screen."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from ebmpipe import collecting
from ebmpipe.report.overview import counted, write_overview
from ebmpipe.report.reading import MissingResult

World = tuple[Path, dict[str, dict[str, list[int]]]]


@pytest.fixture
def text(world: World, tmp_path: Path) -> str:
    collecting.collect(*world)
    (tmp_path / "summary.png").write_bytes(bytes(range(256)) * 100)
    write_overview(world[0], tmp_path / "overview.rst", tmp_path / "summary.png")
    return (tmp_path / "overview.rst").read_text()


def test_names_the_best_and_its_cost_first(text: str) -> None:
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    rows = re.findall(r"<tr>.*?</tr>", body, flags=re.S)
    assert len(rows) == 3
    assert re.search(r'data-head="Best"><b><code>pcd(_twin)?</code></b>', rows[0])
    assert "nll_gap" in rows[0] and ">30 s<" in rows[0] and "2.0×10⁶" in rows[0] and "3 of 14 runs" in rows[0]


def test_counts_methods_of_each_data_set(text: str) -> None:
    assert "<p>2 to 5 methods on 3 data sets, 1 to 2 seeds each. Tied: ranked after the best, but before the first" in text
    assert counted([3, 3], "method") == "3 methods" and counted([1], "seed") == "1 seed"


def test_headings_wrap_between_words_only(text: str) -> None:
    heads = re.findall(r"<th>(.*?)</th>", text)
    assert "frechet_<wbr>lenet&nbsp;↓" in heads and "sliced_<wbr>wasserstein&nbsp;↓" in heads
    assert not re.search(" [↓↑]", "".join(heads))


def test_the_host_can_render_it(text: str) -> None:
    docutils = pytest.importorskip("docutils.core")
    jinja2 = pytest.importorskip("jinja2")
    assert max(map(len, text.splitlines())) < 10_000
    html = docutils.publish_parts(jinja2.Environment().from_string(text).render(), writer="html")["html_body"]
    assert "system-message" not in html and "Which method did best" in html
    image = re.search(r'base64,([^"]+)"', html)
    assert image and base64.b64decode(image[1]) == bytes(range(256)) * 100
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", html)


def test_works_without_a_picture_and_not_without_tables(world: World, tmp_path: Path) -> None:
    collecting.collect(*world)
    write_overview(world[0], tmp_path / "overview.rst")
    assert "<img" not in (tmp_path / "overview.rst").read_text()
    with pytest.raises(MissingResult, match="ebmpipe collect"):
        write_overview(tmp_path, tmp_path / "overview.rst")
