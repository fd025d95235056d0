"""Problems of a label file or a table of texts, as ``pumlc inspect`` prints them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

SHOWN = 10  # of each kind


def print_problems(problems: Sequence[Any]) -> None:
    """Print the first problems of each kind, and how many more there are.

    Args:
        problems: each has a ``kind`` and a ``message``.
    """
    counts = Counter(problem.kind for problem in problems)
    for kind, count in counts.items():
        print(f"\n{kind}: {count}")
        of_kind = [each.message for each in problems if each.kind == kind]
        for message in of_kind[:SHOWN]:
            print(f"  {message}")
        if count > SHOWN:
            print(f"  and {count - SHOWN} more; --json prints all")
    print("\nno problems" if not counts else "")
