"""Classes are renamed, merged, left out and kept as asked, and a wrong name is told with the right one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.remap import class_changes
from pipeline.errors import DataError

NAMES = ("pit", "scratch", "scuff", "dent")


@pytest.mark.parametrize(
    ("remap", "keep", "names", "index"),
    [
        ({}, [], NAMES, (0, 1, 2, 3)),
        ({"scuff": "scrape"}, [], ("pit", "scratch", "scrape", "dent"), (0, 1, 2, 3)),
        ({"scuff": "scratch"}, [], ("pit", "scratch", "dent"), (0, 1, 1, 2)),
        ({"pit": "scuff"}, [], ("scuff", "scratch", "dent"), (0, 1, 0, 2)),  # where the first of the two stood
        ({"scratch": "line", "dent": "line"}, [], ("pit", "line", "scuff"), (0, 1, 2, 1)),
        ({"pit": None}, [], ("scratch", "scuff", "dent"), (None, 0, 1, 2)),
        ({"pit": "dent", "dent": "pit"}, [], ("dent", "scratch", "scuff", "pit"), (0, 1, 2, 3)),  # change places
        ({"pit": "scratch", "scratch": "dent"}, [], ("scratch", "dent", "scuff"), (0, 1, 2, 1)),  # all at once
        ({}, ["dent", "pit"], ("pit", "dent"), (0, None, None, 1)),
        ({"scuff": "scratch", "pit": None}, ["scratch"], ("scratch",), (None, 0, 0, None)),
        ({"pit": "pit"}, [], NAMES, (0, 1, 2, 3)),
    ],
)
def test_classes_become_what_was_asked(
    remap: dict[str, str | None], keep: list[str], names: tuple[str, ...], index: tuple[int | None, ...]
) -> None:
    changes = class_changes(NAMES, remap, keep)
    assert (changes.names, changes.index) == (names, index)
    changed = names != NAMES or index != (0, 1, 2, 3)
    assert [finding.id for finding in changes.findings] == (["names.remapped"] if changed else [])


def test_the_finding_says_what_became_what() -> None:
    (finding,) = class_changes(NAMES, {"scuff": "scratch", "pit": None}, []).findings
    assert finding.severity == "info"
    assert finding.message == "4 classes are 2 now: 'scratch', 'scuff' became 'scratch'; left out: 'pit'"
    assert finding.evidence["became"] == {"scratch": "scratch", "scuff": "scratch"}
    assert finding.evidence["left_out"] == ["pit"]
    assert finding.evidence["count"] == 3


def test_a_long_list_is_cut() -> None:
    names = [f"class {number}" for number in range(40)]
    (finding,) = class_changes(names, {name: name.upper() for name in names}, []).findings
    assert finding.message.endswith("; 30 more were changed")
    assert len(finding.message) < 500
    assert finding.evidence["count"] == 40


@pytest.mark.parametrize(
    ("remap", "keep", "said"),
    [
        ({"scrach": "line"}, [], "data.remap: no class is called 'scrach'; did you mean 'scratch'?"),
        ({"Pit": None}, [], "data.remap: no class is called 'Pit'; did you mean 'pit'?"),
        ({"dent ": "x"}, [], "no class is called 'dent '; did you mean 'dent'?"),
        ({"rust": "x"}, [], "no class is called 'rust'\nthe classes are 'pit', 'scratch', 'scuff', 'dent'"),
        ({}, ["DENT"], "data.keep: no class is called 'DENT'; did you mean 'dent'?"),
        ({"pit": "hole"}, ["pit"], "data.keep: 'pit': data.remap calls it 'hole'"),
        ({"pit": None}, ["pit"], "data.keep: 'pit': data.remap leaves it out"),
        ({"pit": "hole"}, ["holes"], "did you mean 'hole'?\nthe classes after data.remap are 'hole'"),
        ({"pit": " "}, [], "the new name of 'pit' is empty"),
        (dict.fromkeys(NAMES), [], "data.remap leaves out every class"),
        ({"a1": "x", "b2": "y"}, [], "no class is called 'a1'\ndata.remap: no class is called 'b2'"),  # all at once
    ],
)
def test_a_wrong_name_is_refused(remap: dict[str, str | None], keep: list[str], said: str) -> None:
    with pytest.raises(DataError) as caught:
        class_changes(NAMES, remap, keep)
    assert said in str(caught.value)


def test_of_names_that_differ_by_case_alone_the_exact_one_is_meant() -> None:
    changes = class_changes(("pit", "Pit"), {"Pit": "hole"}, [])
    assert (changes.names, changes.index) == (("pit", "hole"), (0, 1))


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_every_old_class_has_its_new_name_or_none(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True))
    remap = data.draw(st.dictionaries(st.sampled_from(names), st.none() | st.sampled_from("abcxyz")))
    after = [remap.get(name, name) for name in names]
    left = [name for name in dict.fromkeys(after) if name is not None]
    keep = data.draw(st.lists(st.sampled_from(left))) if left else []
    if not left:
        with pytest.raises(DataError, match="leaves out every class"):
            class_changes(names, remap, keep)
        return
    changes = class_changes(names, remap, keep)
    for name, number in zip(after, changes.index, strict=True):
        expected = name if name is not None and (not keep or name in keep) else None
        assert (None if number is None else changes.names[number]) == expected
    used = [number for number in changes.index if number is not None]
    assert list(dict.fromkeys(used)) == list(range(len(changes.names)))  # none without an old class, and in their order
