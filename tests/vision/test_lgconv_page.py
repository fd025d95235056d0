"""What docs/lgconv.md shows is what the package does."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "lgconv.md").read_text()


def test_python_blocks_run():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "lgconv.md", "exec"), {})
