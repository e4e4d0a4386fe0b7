from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from perturbsets import LatentBall, load


@pytest.mark.parametrize("inside", ["", "set"])
@pytest.mark.parametrize("kind", [str, Path])
def test_sets_are_found_by_folder_and_by_run(linear_cvae: Any, tmp_path: Path, inside: str, kind: type) -> None:
    run = tmp_path / "run"
    saved = LatentBall(linear_cvae(), radius=1.5, bank=torch.randn(4, 2))
    saved.save(run / inside)
    loaded = load(kind(run))
    images, u = torch.rand(2, 1, 2, 3), torch.randn(2, 2)

    assert loaded.radius == 1.5
    assert torch.equal(loaded.at(images).decode(u), saved.at(images).decode(u))


def test_folders_without_a_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no set\.json"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["digit-rts", "digits_rts", "Digits-RTS"])
def test_unknown_names_are_told_the_nearest(name: str) -> None:
    with pytest.raises(FileNotFoundError, match="did you mean 'digits-rts'"):
        load(name)


@pytest.mark.parametrize("name", ["no/such/folder", "/nowhere", Path("nowhere")])
def test_what_load_takes_is_said_where_it_finds_nothing(name: str | Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"perturbsets\.pretrained\(\) \(.*digits-rts.*\), a folder .* Hugging Face hub"
    ) as refused:
        load(name)

    assert "did you mean" not in str(refused.value)


def test_a_folder_is_reached_by_its_path_though_a_pretrained_set_has_its_name(
    linear_cvae: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    LatentBall(linear_cvae(), radius=1.5).save("digits-rts")

    assert load(Path("digits-rts")).radius == 1.5
    assert load("./digits-rts").radius == 1.5
    assert load("digits-rts").radius != 1.5


def test_sets_of_the_hub_are_downloaded(linear_cvae: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LatentBall(linear_cvae(), radius=1.5).save(tmp_path)
    asked = []

    def download(repository: str, *, allow_patterns: list[str]) -> str:
        asked.append(repository)
        assert "set.json" in allow_patterns
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)

    assert load("owner/name").radius == 1.5
    assert asked == ["owner/name"]


def test_an_answer_of_the_hub_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(repository: str, *, allow_patterns: list[str]) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(FileNotFoundError, match=r"no learned set 'owner/name'.*\(which answers: no network\)"):
        load("owner/name")
