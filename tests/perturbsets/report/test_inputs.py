from __future__ import annotations

from pathlib import Path

import pytest

from perturbsets.report.section import read_classifiers, read_json


def test_json_that_is_not_there_yet_is_nothing(tmp_path: Path) -> None:
    assert read_json(tmp_path / "checks.json") is None


@pytest.mark.parametrize(("text", "message"), [("{", "is no JSON"), ("[1]", "must hold a JSON object, got a list")])
def test_damaged_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "checks.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_json(file)


def test_classifiers_come_by_name_with_one_list_a_seed(tmp_path: Path) -> None:
    for name, seed, loss in (("b", 1, 0.3), ("b", 0, 0.2), ("a", 0, 0.1)):
        folder = tmp_path / name / str(seed)
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text(f'{{"step": 1, "loss": {loss}}}\n')
    (tmp_path / "a" / "1").mkdir()
    (tmp_path / "a" / "1" / "metrics.jsonl").touch()  # begun, nothing logged

    found = read_classifiers(tmp_path)
    assert list(found) == ["a", "b"]
    assert [[records[0]["loss"] for records in runs] for runs in found.values()] == [[0.1], [0.2, 0.3]]
