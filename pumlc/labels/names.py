"""Names of classes and labels: which of them are probably one, spelled in two ways."""

import re
import unicodedata
from collections.abc import Iterable


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Group names that differ only in case, space, ``_``, ``-`` or Unicode form.

    Args:
        names: any number; a name that is there twice counts once.

    Returns:
        the groups of two or more names, groups and names in the order of ``names``.

    Example:
        >>> similar_names(["Tax", "fish quota", "tax", "milk", "fish_quota"])
        [['Tax', 'tax'], ['fish quota', 'fish_quota']]
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        plain = unicodedata.normalize("NFC", name).casefold()
        groups.setdefault(re.sub(r"[\s_-]", "", plain), []).append(name)
    return [group for group in groups.values() if len(group) > 1]
