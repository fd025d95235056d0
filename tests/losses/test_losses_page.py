"""What docs/losses.md shows is what the package does."""

import re
from pathlib import Path

from pumlc import losses

PAGE = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()


def test_python_blocks_run():
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "losses.md", "exec"), {})


def test_every_loss_is_named():
    assert not [f.__name__ for f in losses.LOSSES.values() if f.__name__ not in PAGE]
