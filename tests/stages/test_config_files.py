"""Config files read strictly, and where in them a setting stands."""

import subprocess
import sys

import pytest

from ebmpipe.checking import ConfigError
from ebmpipe.config_files import UnreadableConfig, located, parse, read_config

WRONG = [
    (b"", r"my\.yaml is empty"),
    (b"# only a comment\n", r"my\.yaml is empty"),
    (b"- a\n- b\n", r"my\.yaml holds a list"),
    (b"just text\n", r"my\.yaml holds a single value"),
    (b"a: [1,\n", r"my\.yaml, line 2, column 1: not valid YAML"),
    (b"methods:\n\tpcd: {}\n", r"my\.yaml, line 2, column 1: not valid YAML.*'\\t'"),
    (b"a: 'x\n", r"my\.yaml, line 2, column 1: not valid YAML"),
    (b"a: 1\n---\nb: 2\n", r"my\.yaml, line 2, column 1: not valid YAML"),
    (b"a: *b\n", r"my\.yaml, line 1, column 4: not valid YAML: found undefined alias 'b'"),
    (b"a: !!python/object:os.system x\n", r"my\.yaml, line 1, column 4: not valid YAML: could not determine a constructor"),
    (b"a: &x [*x]\n", r"my\.yaml, line 1: nested without end"),
    (b"a: " + b"[" * 200 + b"]" * 200 + b"\n", r"my\.yaml, line 1: nested without end"),
    (b"a: 2026-13-45\n", r"my\.yaml is not valid YAML: month must be in 1\.\.12"),
    (b"[1]: 2\n", r"my\.yaml, line 1: a key must be text"),
    (b"\xff\xfe\x00", r"my\.yaml is not a text file in UTF-8: byte 0 is 0xff"),
    (b"a: \x00\n", r"my\.yaml is not valid YAML: .*special characters"),
    (b"a: 1\nb: 2\na: 3\n", r"my\.yaml, lines 1 and 3: a is given twice"),
    (b"m:\n  p: {s: 1, t: 2,\n    s: 3}\n", r"my\.yaml, lines 2 and 3: m\.p\.s is given twice"),
    (b"m: [{x: 1, x: 1}]\n", r"my\.yaml, lines 1 and 1: m\.0\.x is given twice"),
]


@pytest.mark.parametrize(("content", "message"), WRONG, ids=range(len(WRONG)))
def test_a_file_that_is_no_config_is_named_with_the_line(tmp_path, monkeypatch, content, message):
    (tmp_path / "my.yaml").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnreadableConfig, match=message) as caught:
        read_config(tmp_path / "my.yaml")
    assert str(caught.value).startswith("my.yaml")
    assert "\n" not in str(caught.value)
    # Where the error already names the file, it is not named again.
    assert located(caught.value, []) == str(caught.value)


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path):
    with pytest.raises(UnreadableConfig, match=r"none\.yaml: there is no such file"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(UnreadableConfig, match="cannot be read: Is a directory"):
        read_config(tmp_path)


def test_what_is_read_is_what_yaml_says_with_the_line_of_every_key(tmp_path):
    (tmp_path / "my.yaml").write_text("﻿a: &x {b: 1}\nc:\n  - d: *x\n  - 1.0e-3\n", encoding="utf-8")
    file = read_config(tmp_path / "my.yaml")
    assert file.content == {"a": {"b": 1}, "c": [{"d": {"b": 1}}, 0.001]}
    assert file.lines[("a", "b")] == 1 and file.lines[("c",)] == 2
    assert file.lines[("c", 0, "d")] == 3 and file.lines[("c", 1)] == 4


def test_the_file_that_has_the_last_word_is_named():
    one, two = parse("a: 1\nb:\n  c: 2\n", "one"), parse("b:\n  d: 3\n", "two")

    def place(*key, overrides=None):
        return located(ConfigError("wrong", key), [one, two], overrides)

    assert place("a") == "one, line 1: wrong"
    assert place("b", "c") == "one, line 3: wrong"
    assert place("b") == "two, line 1: wrong"
    assert place("b", "d", "deeper") == "two, line 2: wrong"
    assert place("missing") == "one, two: wrong"
    assert place("a", overrides={"a": 2}) == "The command line (--config): wrong"
    assert place("b", "c", overrides={"b": {"d": 2}}) == "one, line 3: wrong"
    assert place("missing", overrides={"a": 2}) == "one, two, the command line (--config): wrong"


def test_reading_imports_no_torch():
    code = "import ebmpipe.config_files, ebmpipe.planning, sys; assert not {'torch', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
