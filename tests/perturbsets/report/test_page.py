from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from augment import ChangedPairs, Digits, SpatialChange, write_pairs
from cvae import SpatialCVAE
from perturbsets import LatentBall
from perturbsets.report import write_report

SECTIONS = ["made-pairs", "pairs", "samples", "walk", "norms", "criteria", "auxiliary", "training", "accuracy"]


class Page(HTMLParser):
    """Takes down elements, and refuses tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder whose pairs were made and whose set was learned, after a fashion."""
    folder = tmp_path / "a <b> run"
    folder.mkdir()
    sources: dict[str, Any] = {
        split: Digits(split=split, size=8, digit=8)  # type: ignore[arg-type]
        for split in ("train", "validation", "test")
    }
    write_pairs(folder / "pairs.h5", ChangedPairs(sources, SpatialChange()))
    model = SpatialCVAE(1, 8, 8, latent=3, hidden=8, features=4, grid=2)
    LatentBall(model, 1.5, bank=torch.randn(20, 3)).save(folder / "set")
    (folder / "recipe.yaml").write_text("note: <script>alert(1)</script>\n")
    (folder / "run.json").write_text(json.dumps({"seed": 3, "stages": {}}))
    return folder


def test_a_run_without_stages_gives_a_page_that_says_what_to_do(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path).read_text())

    assert [section["id"] for section in page.all("section")][: len(SECTIONS)] == SECTIONS
    words = " ".join(page.words)
    for stage in ("pairs", "check", "fit", "evaluate"):
        assert f"perturbsets {stage} {tmp_path}" in words
    assert page.open == []


def test_the_page_is_one_file_without_links_or_scripts(run: Path) -> None:
    text = write_report(run).read_text()
    page = Page(text)

    assert page.open == []
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("a")
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in page.all("img"))
    assert all(image["alt"] for image in page.all("img"))
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("title")


def test_names_and_recipes_cannot_break_the_page(run: Path) -> None:
    text = write_report(run).read_text()

    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "a &lt;b&gt; run" in text


def test_figures_are_kept_beside_the_page(run: Path) -> None:
    write_report(run)

    assert {file.name for file in (run / "figures").iterdir()} == {"pairs.png", "samples.png", "walk.png"}


def test_the_same_folder_gives_the_same_page(run: Path) -> None:
    first, second = (write_report(run).read_bytes() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["run.json", "checks/checks.json", "evaluation/evaluation.json"])
def test_damaged_files_are_refused_and_leave_the_former_page(run: Path, name: str) -> None:
    before = write_report(run).read_bytes()
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("{")
    with pytest.raises(ValueError, match=re.escape(str(run / name))):
        write_report(run)

    assert (run / "report.html").read_bytes() == before


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no folder: `perturbsets run RECIPE`"):
        write_report(tmp_path / "nowhere")
