"""Names that are probably one, spelled in two ways."""

from pumlc.labels.names import similar_names


def test_case_space_underscore_hyphen_and_unicode_form():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    names = ["Tax", "milk", composed, "fish_quota", "tax", "fish quota", decomposed, "fish-quota"]
    assert similar_names(names) == [
        ["Tax", "tax"],
        [composed, decomposed],
        ["fish_quota", "fish quota", "fish-quota"],
    ]


def test_other_names_and_repeated_ones_are_not_similar():
    assert similar_names(["a", "b", "a", "ab", "a.b"]) == []
    assert similar_names([]) == []
