"""YAML from people's hands: what is read, what is refused and where, and that writing reads back the same."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, DataError
from pipeline.yaml_source import MAX_BYTES, dump_yaml, flow, parse_scalar, parse_yaml, read_yaml


def _value(text: str) -> object:
    return parse_yaml(f"key: {text}", "f.yaml", DataError).value["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5E+2", 500.0),
        ("1.0e-5", 1e-5),
        (".5", 0.5),
        ("-3", -3),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("!!str 5", "5"),
        ("[yes, no]", ["yes", "no"]),  # the Norway problem, as a list of class names
        ("[on, off, NO, y]", ["on", "off", "NO", "y"]),
        ("2024-01-31", "2024-01-31"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0x1f", "0x1f"),
        ("12345678901234567890", "12345678901234567890"),  # a serial number
        ("none", "none"),
        ("=", "="),
        ("'5'", "5"),
    ],
)
def test_plain_values(text: str, value: object) -> None:
    found = _value(text)
    assert found == value
    assert type(found) is type(value)


def test_lines_and_numeric_keys() -> None:
    document = parse_yaml("path: here\nnames:\n  0: scratch\n  1: pit\nlist:\n  - a\n  - b\n", "data.yaml", DataError)
    assert document.value["names"] == {0: "scratch", 1: "pit"}
    assert document.line("names") == 2
    assert document.line("names.1") == 4
    assert document.line("list.1") == 7
    assert document.line("nothing") is None


def test_anchors_and_merge_keys_are_read() -> None:
    text = "a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: *a\n  y: 3\nd:\n  <<: [{x: 7}, *a]\n"
    assert parse_yaml(text, "f", DataError).value == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 3},
        "d": {"x": 7, "y": 2},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: !!python/object/apply:os.system [echo]", r"f\.yaml:2: tags are not allowed.*python"),
        ("a: !thing 1", r"f\.yaml:1: tags are not allowed, found '!thing'"),
        ("!!python/name:os.system a: 1", r"f\.yaml:1: tags are not allowed"),
        ("a: !!set {x, y}", r"f\.yaml:1: tags are not allowed, found '!!set'"),
        ("a: !!int five", r"f\.yaml:1: tags are not allowed"),
        ("a: !!bool yes", r"f\.yaml:1: tags are not allowed"),
        ("a: 1\nb: 2\na: 3", r"f\.yaml:3: a: given twice; first in f\.yaml:1"),
        ("s:\n  k: 1\n  k: 1", r"f\.yaml:3: s\.k: given twice; first in f\.yaml:2"),
        ("names:\n  0: a\n  0: b", r"f\.yaml:3: names\.0: given twice"),
        ("a: 1\nb: [1, 2", r"f\.yaml:2: not valid YAML"),
        ("a: 1\n\tb: 2", r"f\.yaml:2: not valid YAML"),
        ("a: *b", r"f\.yaml:1: not valid YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", r"f\.yaml:2: not valid YAML"),
        ("- 1\n- 2", r"f\.yaml:1: the top level must be .* not a list"),
        ("just text", r"f\.yaml:1: the top level must be .* 'just text'"),
        ("[a]: 1", r"f\.yaml:1: a key must be"),
        ("a: &a [*a]", r"f\.yaml:1: an alias contains itself"),
        ("a:\n  <<: 5", r"f\.yaml:2: `<<` takes a mapping"),
        ("a: 1\nb: \x07", r"f\.yaml:2: the character U\+0007"),
        ("a: " + "[" * 5000, r"f\.yaml: nested too deeply"),
    ],
)
def test_refused_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_yaml(text, "f.yaml", DataError)


def test_all_problems_of_a_file_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: !x 1\nb: 2\nb: 3\n", "f.yaml", ConfigError)
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == ["f.yaml:1", "f.yaml:3"]


def test_billion_laughs_does_not_blow_up() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    start = time.perf_counter()
    with pytest.raises(ConfigError, match="aliases repeat more than 10,000 values"):
        parse_yaml("\n".join(lines), "f.yaml", ConfigError)
    assert time.perf_counter() - start < 5


def test_a_long_list_of_names_without_aliases_is_fine() -> None:
    names = "\n".join(f"  {n}: class {n}" for n in range(11_000))
    assert len(parse_yaml(f"names:\n{names}", "f", DataError).value["names"]) == 11_000


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_bytes("\ufeffname: Prüfling\r\n".encode())  # a byte order mark and Windows line ends
    assert read_yaml(good, DataError).value == {"name": "Prüfling"}
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing yet\n")
    assert read_yaml(empty, DataError).value == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: \xff\xfe", r"not UTF-8 text \(line 1\); save it as UTF-8: /"),
        ("a: 1".encode("utf-16"), r"not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), r"larger than 4 MiB"),
    ],
)
def test_unreadable_content(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_yaml(path, DataError)


def test_missing_folder_and_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        read_yaml(Path("nope.yaml"), DataError)
    assert str(caught.value) == f"no such file: {Path.cwd() / 'nope.yaml'}"
    with pytest.raises(ConfigError, match="a folder or device, not a file: /"):
        read_yaml(tmp_path, ConfigError)
    with pytest.raises(DataError, match=r"cannot be read|no such file"):
        read_yaml(Path("x" * 5000), DataError)
    with pytest.raises(DataError, match=r"cannot be read|no such file"):
        read_yaml(Path("a\0b"), DataError)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "locked.yaml").write_text("a: 1")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"cannot be read: /.*locked\.yaml: Permission denied"):
        read_yaml(Path("locked.yaml"), DataError)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("1e-3", 0.001),
        ("True", True),
        ("none", None),
        ("None", None),
        ("null", None),
        ("[0,1]", [0, 1]),
        ("[ 0.5, 1.5 ]", [0.5, 1.5]),
        ("{a: 1}", {"a": 1}),
        ("'5'", "5"),
        ("yes", "yes"),
        ("yolo26n.pt", "yolo26n.pt"),
        (r"C:\data\steel", r"C:\data\steel"),
        (r"[a-z]+_(\d+)", r"[a-z]+_(\d+)"),
        (r"(board\d+)_", r"(board\d+)_"),
        ("[0,1", "[0,1"),
        ("[!!python/name:os.system x]", "[!!python/name:os.system x]"),
        ("*x", "*x"),
        ("a: b", "a: b"),
        ("#1", "#1"),
        ("0,1", "0,1"),
    ],
)
def test_scalars_of_the_command_line(text: str, value: object) -> None:
    found = parse_scalar(text)
    assert found == value
    assert type(found) is type(value)


@settings(deadline=None)
@given(st.text(max_size=40) | st.text(alphabet="[]{}'\"&*!:,-?#a1. \n", max_size=30))
def test_scalars_never_raise(text: str) -> None:
    parse_scalar(text)


_WORDS = st.text(max_size=12) | st.sampled_from(
    ["yes", "1e-3", "010", "null", "~", "<<", "2024-01-31", "1_0", "=", "-"]
)
_PLAIN = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False) | _WORDS
_VALUES = st.dictionaries(
    _WORDS, st.recursive(_PLAIN, lambda leaf: st.lists(leaf, max_size=3), max_leaves=5), max_size=4
)


@settings(deadline=None)
@given(_VALUES)
def test_what_is_written_reads_back_the_same(value: dict[str, object]) -> None:
    assert parse_yaml(dump_yaml(value), "f", DataError).value == value


def test_what_is_written_means_the_same_to_a_yaml_1_1_reader() -> None:
    value = {"a": "yes", "b": "010", "c": "1:30", "d": 1e-05, "e": "1e-3", "f": True, "g": "2024-01-31"}
    assert yaml.safe_load(dump_yaml(value)) == value


@example([{"a": "x\ny"}, {"\n": {}}, {"b": "x\n"}])
@given(st.lists(st.dictionaries(_WORDS, _VALUES, max_size=2), max_size=3))
def test_what_is_written_on_one_line_for_a_command_line_is_read_back(value: list[dict[str, object]]) -> None:
    text = flow(value)
    assert text.splitlines() == [text]
    assert parse_scalar(text) == value
