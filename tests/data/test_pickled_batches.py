"""Pickles of CIFAR-10 are read without being run: what they hold comes out, what others hold is refused."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_files import BATCHES, PER_BATCH, PIXELS, Python2, python  # type: ignore[import-not-found]

from ebmpipe.data.fetching import UnusableRawData
from ebmpipe.data.pickled_batches import content_of, read_batch

SHAPE = (PER_BATCH, PIXELS)


def test_the_fixture_is_what_python_and_numpy_take_for_the_original_and_reads_the_same() -> None:
    pixels, labels = BATCHES[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the names of 2009
        unpickled = pickle.loads(python(pixels, labels), encoding="latin1")
    assert unpickled["labels"] == labels.tolist() and len(unpickled["filenames"]) == PER_BATCH
    np.testing.assert_array_equal(unpickled["data"], pixels)
    found = read_batch(python(pixels, labels), SHAPE, "x")
    np.testing.assert_array_equal(found[0], pixels)
    np.testing.assert_array_equal(found[1], labels)
    assert found[0].dtype == np.uint8 and found[1].dtype == np.int64


def test_the_order_that_numpy_noted_is_heeded() -> None:
    pixels, labels = BATCHES[0]
    turned = python(pixels, labels, by_columns=b"\x88", content=pixels.tobytes("F"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(pickle.loads(turned, encoding="latin1")["data"], pixels)
    np.testing.assert_array_equal(read_batch(turned, SHAPE, "x")[0], pixels)


class Hostile:
    """Leaves a file where it is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    pickled = pickle.dumps({"labels": [0] * PER_BATCH, "data": Hostile(trace)}, protocol)
    with pytest.raises(UnusableRawData, match=r"x is no batch of CIFAR-10 .*; nothing in it was executed"):
        read_batch(pickled, SHAPE, "x")
    assert not trace.exists()
    pickle.loads(pickled)
    assert trace.exists()  # it would have been


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\nU\x02id\x85R.",
        b"cbuiltins\neval\nU\x011\x85R.",
        b"cnumpy\nload\nU\x011\x85R.",
        b"cnumpy.core.multiarray\n_reconstruct\ncos\nsystem\n\x85R.",
        b"(U\x02idios\nsystem\n.",
        b"(cos\nsystem\nU\x02ido.",
        b"}cos\nsystem\n\x81.",
        b"\x82\x01.",
        b"U\x02idQ.",
        b"Pid\n.",
    ],
)
def test_whatever_imports_or_calls_is_refused(program: bytes) -> None:
    before = set(sys.modules)
    for whole in (b"\x80\x02" + program, program):
        with pytest.raises(UnusableRawData, match="nothing in it was executed"):
            read_batch(whole, SHAPE, "x")
    assert set(sys.modules) == before


def test_noted_calls_are_not_made() -> None:
    """Of the three names that a batch may call, with arguments that numpy would take: an array of a billion bytes is not made."""
    noted = content_of(b"\x80\x02cnumpy\nndarray\nJ\x00\xca\x9a\x3b\x85R.")
    assert (noted.name, noted.arguments) == ("numpy ndarray", (10**9,))


PIXELS_0, LABELS_0 = BATCHES[0]


def relabelled(labels: list[Any]) -> bytes:
    writer = Python2()
    writer.out += b"}("
    writer.text(b"labels")
    writer.list_of(labels)
    writer.text(b"data")
    writer.array(PIXELS_0)
    return bytes(writer.out + b"u.")


@pytest.mark.parametrize(
    ("pickled", "complaint"),
    [
        (b"", "no batch"),
        (b"\x80\x02.", "no batch"),
        (b"\x80\x02}.", "it has no data and labels"),
        (b"\x80\x02K\x01.", "it has no data and labels"),
        (b"\x80\x03}.", "it is not of protocol 2"),
        (b"\x80\x02}(U\x01a" + b"U\x01aK\x01K\x02u.", "a key of its dictionary is no text"),
        (b"\x80\x02}U\x01aK\x01sU\x01aK\x02s.", "is there twice"),
        (b"\x80\x02}K\x01K\x01s.", "a key of its dictionary is no text"),
        (b"\x80\x02(K\x01.", "does not end in one object"),
        (b"\x80\x02h\x07.", "no batch"),
        (b"\x80\x02K\x01K\x02a.", "an int in the place of a list|there is a int in the place of a list"),
        (python(PIXELS_0, LABELS_0)[:-1000], "no batch"),
        (python(PIXELS_0, LABELS_0).replace(b"K\x05", b"Q\x05", 1), "the instruction BINPERSID, which no batch has"),
        (python(PIXELS_0[:-1], LABELS_0), "its array is not 40 x 3072 bytes"),
        (python(PIXELS_0.reshape(-1, 2 * PIXELS), LABELS_0), "its array is not 40 x 3072 bytes"),
        (python(PIXELS_0, LABELS_0, by_columns=b"K\x01"), "its array is not 40 x 3072 bytes"),
        (python(PIXELS_0, LABELS_0, dtype=b"i1"), "its array is not of unsigned bytes"),
        (python(PIXELS_0, LABELS_0, dtype=b"O8"), "its array is not of unsigned bytes"),
        (python(PIXELS_0, LABELS_0, content=b"short"), "its array is not 40 x 3072 bytes"),
        (python(PIXELS_0, LABELS_0[:-1]), "its labels are no list of 40 integers"),
        (relabelled([b"0"] * PER_BATCH), "its labels are no list of 40 integers"),
    ],
)  # fmt: skip
def test_what_is_no_batch_is_refused(pickled: bytes, complaint: str) -> None:
    with pytest.raises(UnusableRawData, match=complaint):
        read_batch(pickled, SHAPE, "x")
