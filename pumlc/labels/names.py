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


def neighbouring_names(names: Iterable[str]) -> list[list[str]]:
    """Pairs of names that differ in one letter: a plural, a typing error.

    Case does not count. Of names below five letters only a plural is a neighbour. Names that
    `similar_names` groups are no neighbours.

    Args:
        names: any number; the work grows with their letters, not with their pairs.

    Returns:
        the pairs, in the order of ``names``.

    Example:
        >>> neighbouring_names(["cat", "car", "cats", "bicycle", "bycicle", "bicicle"])
        [['cat', 'cats'], ['bicycle', 'bicicle'], ['bycicle', 'bicicle']]
    """
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    plain = {name: unicodedata.normalize("NFC", name).casefold() for name in places}
    of_variant: dict[str, list[str]] = {}
    for name, text in plain.items():
        for variant in {f"{text[:i]}\0{text[i + 1 :]}" for i in range(len(text))}:
            of_variant.setdefault(variant, []).append(name)  # names that differ in this letter
        for i in range(len(text) + 1):
            of_variant.setdefault(f"{text[:i]}\0{text[i:]}", []).append(name)  # or by an added one
    pairs = {
        (first, second)
        for group in of_variant.values()
        for first in group
        for second in group
        if places[first] < places[second] and _are_neighbours(plain[first], plain[second])
    }
    ordered = sorted(pairs, key=lambda pair: (places[pair[0]], places[pair[1]]))
    return [list(pair) for pair in ordered]


def _are_neighbours(first: str, second: str) -> bool:
    short, long = sorted((first, second), key=len)
    if re.sub(r"[\s_-]", "", first) == re.sub(r"[\s_-]", "", second):
        return False
    return len(short) >= 5 or long in (f"{short}s", f"{short}es")
