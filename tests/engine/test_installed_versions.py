"""Which versions a run records."""

from importlib.metadata import Distribution, version

from pumlc.engine.run import versions


def test_a_half_removed_package_plays_no_part(tmp_path, monkeypatch):
    """pip leaves a folder without metadata while it installs, or if it was killed."""
    (tmp_path / "numpy_old-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert None in {each.name for each in Distribution.discover()}
    assert versions()["torch"] == version("torch")
