"""Constraints for pip that pin every dependency of setup.cfg to the oldest version it allows.

python oldest_versions.py > constraints.txt
"""

import configparser
import re
from pathlib import Path

_FLOOR = re.compile(r"([\w.-]+)(?:\[.*?\])?>=([\w.]+)")


def oldest_versions(setup: str) -> list[str]:
    """The constraints, one for each requirement with a floor.

    >>> oldest_versions(
    ...     "[options]\\ninstall_requires =\\n    numpy>=1.26.4\\n    a[b]>=2,<3\\n"
    ...     "[options.extras_require]\\ndev =\\n    # why\\n    ruff==1\\n    pytest>=8.3\\n"
    ... )
    ['numpy==1.26.4', 'a==2', 'pytest==8.3']
    """
    settings = configparser.ConfigParser()
    settings.read_string(setup)
    groups = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
    floors = (_FLOOR.match(line) for group in groups for line in group.splitlines())
    return [f"{floor[1]}=={floor[2]}" for floor in floors if floor is not None]


if __name__ == "__main__":
    file = Path(__file__).resolve().parent.parent / "setup.cfg"
    print("\n".join(oldest_versions(file.read_text("utf-8"))))
