"""What others have published beside the numbers here: which rows, which values, and that every number says where it is from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from ebmpipe import registry
from ebmpipe.cli import app
from ebmpipe.report.published import catalogue, frame, known, markdown


def metrics(*rows: tuple[str, str, int, str, float | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", "metric", "value"])


FOUND = metrics(
    ("cifar10", "data", 0, "fid", 2.0),
    ("cifar10", "noise", 0, "fid", 300.0),
    ("cifar10", "dual_mcmc", 0, "fid", 90.0),
    ("cifar10", "dual_mcmc", 0, "fid@own", 10.0),
    ("cifar10", "dual_mcmc", 1, "fid@own", 12.0),
    ("cifar10", "dual_mcmc", 2, "fid@own", None),
    ("cifar10", "cooperative", 0, "fid", 50.0),
    ("cifar10", "cooperative", 0, "fid@own", None),
    ("cifar10", "dual_mcmc", 0, "fid@generated", 15.0),
    ("cifar10", "ncsn", 0, "fid", 45.0),
    ("cifar10", "pcd", 0, "fid", 40.0),
    ("digits", "pcd", 0, "frechet_lenet", 6.0),
)


def of(found: pd.DataFrame, **where: Any) -> pd.DataFrame:
    for column, value in where.items():
        found = found[found[column] == value]
    return found


def test_every_number_says_what_it_is_of_and_where_it_is_from() -> None:
    datasets = set(registry.names("data"))
    ids = {metric for family in registry.load_all("metrics").values() for metric in family.ids} | {"log_likelihood"}
    for row in known():
        assert row["dataset"] in datasets and row["source"] and row["read_in"] and row["method"]
        assert row["metric"].partition("@")[0] in ids, row["metric"]
        assert float(row["value"]) == float(row["value"])
    # Nothing is said twice.
    keys = [tuple(row[key] for key in ("dataset", "metric", "method", "variant", "source")) for row in known()]
    assert len(set(keys)) == len(keys)


def test_labels_stand_beside_what_was_published_of_them() -> None:
    """By the method's own samples, by long chains where it has no sampler of its own, and not at all where its own samples are lost."""
    found = of(frame(FOUND), dataset="cifar10", metric="fid")
    (table_1,) = of(found, label="dual_mcmc", source="Cui & Han 2023, Table 1").itertuples()
    assert (table_1.published, table_1.ours, table_1.seeds) == (9.26, 11.0, 2)
    assert table_1.ours_sd == pytest.approx(2**0.5)
    assert list(found.method[:2]) == ["data", "noise"] and list(found.ours[:2]) == [2.0, 300.0] and found.published[:2].isna().all()
    assert list(of(found, label="ncsn").ours) == [45.0]
    assert of(found, label="cooperative").empty and of(found, method="cooperative learning").ours.isna().all()
    generated = of(frame(FOUND), metric="fid@generated", variant="released code, generator alone")
    assert list(generated.ours) == [15.0] and generated.ours_sd.isna().all()


def test_what_no_label_stands_for_is_there_without_one() -> None:
    found = of(frame(FOUND), method="StyleGAN2 without ADA", metric="fid")
    assert list(found.published) == [9.9] and found.ours.isna().all() and list(found.label) == [""]
    # PCD has published numbers of other data alone.
    assert of(frame(FOUND), label="pcd").empty and of(frame(FOUND), dataset="digits").empty


def test_likelihoods_are_those_of_weights_in_training() -> None:
    plane = metrics(("eight_gaussians", "pd_alpha", 0, "nll", 2.9))
    assert frame(plane).empty
    ends = [("updates", -2.898), ("seconds", -3.5)]
    columns = {"dataset": "eight_gaussians", "method": "pd_alpha", "seeds": 3, "log_likelihood_sd": 0.005}
    trajectories = pd.DataFrame([columns | {"at": at, "log_likelihood": value} for at, value in ends])
    (row,) = of(frame(plane, trajectories), label="pd_alpha").itertuples()
    assert (row.published, row.ours, row.ours_sd, row.seeds) == (-2.89, -2.898, 0.005, 3)


def test_the_page_and_the_command(tmp_path: Path) -> None:
    page = markdown(frame(FOUND))
    assert "## `cifar10`: Cui & Han 2023, Table 1" in page and "## `cifar10`: Cui & Han 2023, Table 5" in page
    table_1 = page.partition("Table 1\n")[2].partition("##")[0]
    assert "| method | `fid`, published | here | `inception_score`, published | here | label | seeds | note |" in table_1
    assert "| data | – | 2.00 | – | – | `data` | 1 | – |" in table_1, "a control gives every table its scale"
    assert "| Dual-MCMC teaching | 9.26 | 11.0 ± 1.4 | 8.55 | n/a | `dual_mcmc` | 2 | 30 revision steps in training |" in table_1
    assert "| StyleGAN2 without ADA | 9.9 | n/a | 8.99 | n/a | – | – | – |" in table_1
    table_5 = page.partition("Table 5\n")[2].partition("##")[0]
    assert [f"{steps} revision steps" in table_5 for steps in (10, 20, 30, 50)] == [True] * 4 and "1.594 s per iteration" in table_5
    (tmp_path / "tables").mkdir()
    FOUND.to_csv(tmp_path / "tables/metrics.csv", index=False)
    result = CliRunner().invoke(app, ["collect-published", "--results", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "tables/published.md").read_text() == page
    assert pd.read_csv(tmp_path / "tables/published.csv").published.count() == sum(row["dataset"] == "cifar10" for row in known())


def test_the_catalogue_names_the_metrics_of_every_data_set() -> None:
    found = catalogue()
    assert "fid" in found["cifar10"] and found["eight_gaussians"] == ["log_likelihood"]
