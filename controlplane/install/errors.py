"""What is wrong with what a user asks for."""

from __future__ import annotations


class RefusedInputError(Exception):
    """It cannot be installed as it is stated; each of ``problems`` is a sentence that names path and reason."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
