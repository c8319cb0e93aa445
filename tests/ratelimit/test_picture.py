"""The picture of docs/explanation/limiting.md."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from docs.explanation import limiting_picture as picture

if TYPE_CHECKING:
    from octavo.ratelimit import Rule

DRAWN = picture.drawing()


def test_the_picture_is_what_the_algorithms_do() -> None:
    assert picture.PICTURE.read_text(encoding="utf-8") == DRAWN, (
        f"run python {picture.__file__} and see whether the page still says the same"
    )


def test_the_picture_has_all_algorithms() -> None:
    texts = [text.text for text in ET.fromstring(DRAWN).iter("{http://www.w3.org/2000/svg}text")]

    assert {rule.algorithm for rule in picture.RULES} == {
        "gcra", "fixed", "sliding", "segmented", "log", "quota", "concurrency",
    }  # fmt: skip
    assert {repr(rule) for rule in picture.RULES} < {*texts}


@pytest.mark.parametrize("rule", picture.RULES, ids=repr)
def test_nothing_in_the_picture_breaks_a_promise(rule: Rule) -> None:
    most = max(count for _, count in picture.in_the_last_minute(picture.passed(rule)))

    promised = rule.guarantee(60).most
    assert promised is None or most <= promised
