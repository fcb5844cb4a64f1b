"""Results are remembered for short texts only."""

from __future__ import annotations

from controlplane.kept import kept


def test_a_result_is_remembered_unless_a_text_is_long() -> None:
    asked: list[tuple[str, int]] = []

    @kept(2, longest=3)
    def length(text: str, times: int) -> int:
        """Say how long it is."""
        asked.append((text, times))
        return len(text) * times

    assert [length("abc", 2), length("abc", 2), length("abcd", 2), length("abcd", 2)] == [6, 6, 8, 8]
    assert asked == [("abc", 2), ("abcd", 2), ("abcd", 2)]
    assert length.__doc__ == "Say how long it is."


def test_the_latest_used_are_remembered() -> None:
    asked: list[str] = []

    @kept(2)
    def noted(text: str) -> None:
        asked.append(text)

    for text in "abacab":
        noted(text)
    assert asked == ["a", "b", "c", "b"]
