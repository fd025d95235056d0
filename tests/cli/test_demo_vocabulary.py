"""The vocabulary of the texts of the demo."""

from pumlc.cli.demo_texts import write_encoder


def test_the_vocabulary_is_the_same_in_each_run(tmp_path):
    texts = [f"the {a}{b}{c} of a {c}{b}" for a in "abcdefg" for b in "hijkl" for c in "mnopq"]
    names = [f"run{number}" for number in range(4)]
    for name in names:
        write_encoder(tmp_path / name, texts)
    found = {(tmp_path / name / "vocab.txt").read_text("utf-8") for name in names}
    assert len(found) == 1
    assert next(iter(found)).splitlines()[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
