"""Downloads: whole or resumed, from whichever mirror gives the right file, and one clear error when none does."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe.data import fetching
from ebmpipe.data.fetching import UnusableRawData, download, download_folder
from ebmpipe.data.idx import unpack
from ebmpipe.data.transfer import transfer
from ebmpipe.files import Unwritable

#: Incompressible, so that the file that is sent is several chunks long.
CONTENT = np.random.default_rng(0).bytes(400_000)
SENT = gzip.compress(CONTENT, mtime=0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Server = Any


def check(path: Path, source: str) -> None:
    unpack(path, SHA256, source)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here" / "file.gz"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_done(target: Path) -> None:
    """The file is there, right, and nothing else is."""
    assert target.read_bytes() == SENT
    assert names(target.parent) == ["file.gz"]


def test_a_file_is_fetched(server: Server, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.files["file.gz"] = SENT
    download([server.url()], target, check, "small")
    assert_done(target)
    assert [request["range"] for request in server.requests] == [None]
    assert re.search(r"file\.gz: 400 kB/400 kB in \d+ s", capsys.readouterr().err)


def test_a_terminal_gets_a_bar_of_bytes(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    server.files["file.gz"], server.cuts = SENT, [100_000]
    download([server.url()], target, check, "small")
    first, second = sys.stderr.getvalue().strip().split("\n")
    assert re.search(r"file\.gz:? +25%.*100k/400k", first) and re.search(r"file\.gz:? +100%.*400k/400k.*B/s", second)


def test_redirects_are_followed_and_a_missing_length_is_no_obstacle(server: Server, target: Path) -> None:
    server.files["file.gz"], server.sized = SENT, False
    download([server.url("moved/file.gz")], target, check, "small")
    assert_done(target)


def test_a_connection_that_breaks_is_gone_on_with(server: Server, target: Path) -> None:
    server.files["file.gz"], server.cuts = SENT, [100_000, 150_000, 50_000, 1, 2]
    assert len(server.cuts) > len(fetching.WAITS)  # as long as it brings more, a mirror is not given up
    download([server.url()], target, check, "small")
    assert_done(target)
    begins = (100_000, 250_000, 300_000, 300_001, 300_003)
    assert [request["range"] for request in server.requests] == [None, *(f"bytes={begin}-" for begin in begins)]
    assert [request["if_range"] for request in server.requests] == [None, *['"1"'] * 5]
    assert sum(request["sent"] for request in server.requests) == len(SENT)


def test_a_server_that_breaks_off_at_once_is_asked_again_a_few_times(server: Server, target: Path) -> None:
    server.files["file.gz"], server.cuts = SENT, [0, 0]
    download([server.url()], target, check, "small")
    assert_done(target)
    assert len(server.requests) == len(fetching.WAITS)


def test_a_killed_download_is_gone_on_with(server: Server, target: Path) -> None:
    server.files["file.gz"], server.hold = SENT, 120_000
    code = (
        "import sys; from pathlib import Path; from ebmpipe.data.fetching import download; from ebmpipe.data.idx import unpack; "
        "url, target, sha256 = sys.argv[1:]; download([url], Path(target), lambda path, source: unpack(path, sha256, source), 'small')"
    )
    part = target.with_name("file.gz.part")
    with subprocess.Popen([sys.executable, "-c", code, server.url(), target, SHA256]) as process:
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size == 120_000) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert names(target.parent) == ["file.gz.part", "file.gz.part.json"]
    server.hold = None
    server.go.set()
    download([server.url()], target, check, "small")
    assert_done(target)
    assert [(request["range"], request["sent"]) for request in server.requests[1:]] == [("bytes=120000-", len(SENT) - 120_000)]


def leave(target: Path, content: bytes, url: str, tag: str = '"1"', total: int | None = len(SENT)) -> None:
    """What an interrupted download leaves."""
    target.with_name("file.gz.part").write_bytes(content)
    target.with_name("file.gz.part.json").write_text(json.dumps({"url": url, "validator": tag, "total": total}))


def test_all_that_came_before_a_kill_needs_no_server(server: Server, target: Path) -> None:
    leave(target, SENT, server.url())
    download([server.url()], target, check, "small")
    assert_done(target)
    assert server.requests == []


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"url": 3}'])
def test_a_rest_of_unknown_origin_is_not_built_on(server: Server, target: Path, damage: str) -> None:
    server.files["file.gz"] = SENT
    leave(target, SENT[:1000], server.url())
    target.with_name("file.gz.part.json").write_text(damage)
    download([server.url()], target, check, "small")
    assert_done(target)
    assert [request["range"] for request in server.requests] == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_another_mirror_starts_anew(server: Server, target: Path, ranges: bool) -> None:
    server.files["file.gz"], server.ranges = SENT, ranges
    leave(target, b"x" * 1000, "http://elsewhere/file.gz")
    download([server.url()], target, check, "small")
    assert_done(target)
    assert [request["range"] for request in server.requests] == [None]


def test_a_server_without_ranges_gives_the_whole_again(server: Server, target: Path) -> None:
    server.files["file.gz"], server.ranges, server.cuts = SENT, False, [100_000]
    download([server.url()], target, check, "small")
    assert_done(target)
    assert [(request["range"], request["sent"]) for request in server.requests] == [(None, 100_000), ("bytes=100000-", len(SENT))]


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(server: Server, target: Path) -> None:
    server.files["file.gz"], server.tag = SENT, '"2"'
    leave(target, b"x" * 1000, server.url())
    download([server.url()], target, check, "small")
    assert_done(target)
    assert [(request["if_range"], request["sent"]) for request in server.requests] == [('"1"', len(SENT))]


@pytest.mark.parametrize(("tag", "total"), [('"old"', len(SENT)), ('"1"', len(SENT) + 1)])
def test_a_part_of_another_version_is_not_appended(server: Server, target: Path, tag: str, total: int) -> None:
    server.files["file.gz"], server.heeds = SENT, False
    leave(target, b"x" * 1000, server.url(), tag, total)
    part = target.with_name("file.gz.part")
    with part.open("ab+", buffering=0) as file:
        assert not transfer(server.url(), file, target.with_name("file.gz.part.json"), "file.gz")
    assert part.read_bytes() == SENT
    assert [request["range"] for request in server.requests] == ["bytes=1000-", None]


def test_a_rest_longer_than_the_file_is_dropped(server: Server, target: Path) -> None:
    server.files["file.gz"] = SENT
    leave(target, b"x" * (len(SENT) + 5), server.url())
    download([server.url()], target, check, "small")
    assert_done(target)
    assert [request["sent"] for request in server.requests] == [0, len(SENT)]


def test_pieces_that_do_not_fit_are_fetched_anew_once(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WAITS", (0.0,))
    server.files["file.gz"], server.tag = SENT, ""  # a server that does not say which version it gives
    leave(target, b"x" * 1000, server.url(), "")
    download([server.url()], target, check, "small")
    assert_done(target)
    assert [(request["range"], request["if_range"]) for request in server.requests] == [("bytes=1000-", None), (None, None)]


def test_the_next_mirror_is_tried(server: Server, target: Path) -> None:
    server.files |= {"good/file.gz": SENT, "wrong/file.gz": gzip.compress(b"another file"), "page/file.gz": b"<html>log in</html>"}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dead = f"http://127.0.0.1:{listening.getsockname()[1]}/file.gz"
    urls = [dead, *(server.url(f"{mirror}/file.gz") for mirror in ("absent", "wrong", "page", "good"))]
    download(urls, target, check, "small")
    assert_done(target)
    assert [request["path"].partition("/")[0] for request in server.requests] == ["absent", "wrong", "page", "good"]


def test_a_server_in_trouble_is_asked_again_and_one_that_says_no_is_not(server: Server, target: Path) -> None:
    server.files["file.gz"], server.answers = SENT, [503, 429]
    download([server.url()], target, check, "small")
    assert_done(target)
    server.requests.clear()
    target.unlink()
    server.answers = [403]
    with pytest.raises(UnusableRawData, match="it answers 403 Forbidden"):
        download([server.url()], target, check, "small")
    assert len(server.requests) == 1


def test_wrong_content_is_refused_with_both_checksums(server: Server, target: Path) -> None:
    server.files["file.gz"] = gzip.compress(b"another file")
    with pytest.raises(UnusableRawData) as caught:
        download([server.url()], target, check, "small")
    message = str(caught.value)
    found = hashlib.sha256(b"another file").hexdigest()
    assert all(part in message for part in (f"what {server.url()} gives as file.gz", found, SHA256, f"put it into {target.parent}"))
    assert names(target.parent) == [] and len(server.requests) == 1


def test_one_error_when_nothing_can_be_reached(target: Path, server: Server) -> None:
    urls = ["http://no.such.host.invalid/file.gz", server.url("absent/file.gz")]
    with pytest.raises(UnusableRawData) as caught:
        download(urls, target, check, "small")
    message = str(caught.value)
    assert message.startswith("small needs file, and downloading it failed (no.such.host.invalid: ")
    assert f"; 127.0.0.1:{server.server_address[1]}: it answers 404 Not Found); fetch it from {urls[0]} or {urls[1]}" in message
    assert message.endswith(f"and put it into {target.parent}") and "\n" not in message
    assert names(target.parent) == []


def test_what_came_is_kept_when_the_network_fails_for_good(server: Server, target: Path) -> None:
    server.files["file.gz"], server.cuts = SENT, [100_000, *[0] * 9]
    with pytest.raises(UnusableRawData, match="the connection ended after 100000 of 400"):
        download([server.url()], target, check, "small")
    assert target.with_name("file.gz.part").read_bytes() == SENT[:100_000]
    server.cuts = []
    download([server.url()], target, check, "small")
    assert_done(target)
    assert server.requests[-1]["range"] == "bytes=100000-"


def test_of_several_that_want_a_file_one_fetches_it(server: Server, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.files["file.gz"], server.hold = SENT, 50_000
    errors: list[Exception] = []

    def work() -> None:
        try:
            download([server.url()], target, check, "small")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    said, deadline = "", time.monotonic() + 60
    while said.count("another process is downloading file.gz; waiting") < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
        said += capsys.readouterr().err
    server.go.set()
    for thread in threads:
        thread.join()
    assert errors == [] and len(server.requests) == 1
    assert_done(target)


def test_a_full_disk_is_one_error_and_leaves_nothing(server: Server, target: Path) -> None:
    server.files["file.gz"] = SENT
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from ebmpipe.data.fetching import download; from ebmpipe.data.idx import unpack; from ebmpipe.files import Unwritable\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    download([sys.argv[1]], Path(sys.argv[2]), lambda path, source: unpack(path, '0', source), 'small')\n"
        "except Unwritable as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, server.url(), target], capture_output=True, text=True, check=True)
    assert done.stdout == f"{target} cannot be written (File too large); free space, then run it again\n"
    assert names(target.parent) == []


def test_a_folder_that_cannot_be_written_is_passed_over_with_a_notice(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert download_folder(("small",), tmp_path / "raw") == tmp_path / "raw" / "small"
    (tmp_path / "file").write_text("in the way")
    assert download_folder(("small",), tmp_path / "file") == cache / "small"
    assert f"{tmp_path / 'file' / 'small'} cannot be written (Not a directory); downloading to {cache}" in capsys.readouterr().err
    (tmp_path / "cache" / "ebmpipe" / "small").rmdir()
    (tmp_path / "cache" / "ebmpipe").rmdir()
    (tmp_path / "cache" / "ebmpipe").write_text("in the way too")
    with pytest.raises(UnusableRawData, match=r"no folder to download to: .*file/small.*; .*ebmpipe/small.*EBMPIPE_DATA_DIR or --raw"):
        download_folder(("small",), tmp_path / "file")


def test_an_unwritable_partial_file_is_one_error(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["file.gz"] = SENT

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ebmpipe.data.transfer.write", full)
    with pytest.raises(Unwritable, match=r"file\.gz cannot be written \(No space left on device\)"):
        download([server.url()], target, check, "small")
    assert names(target.parent) == []
