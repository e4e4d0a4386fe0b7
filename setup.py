"""The one thing that setup.cfg cannot say: the README as a package index shows it, away from the files it links to."""

import configparser
import re
from pathlib import Path

import setuptools


def description(readme: str, source: str | None) -> str:
    """A README whose relative links lead to a repository, ``https://…/owner/name``; without one, links become text."""

    def link(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        if source is None:
            return "" if picture else text
        return f"{picture}[{text}]({source}/{'raw' if picture else 'blob'}/HEAD/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)", link, readme)


if __name__ == "__main__":
    folder = Path(__file__).parent
    settings = configparser.ConfigParser()
    settings.read(folder / "setup.cfg", encoding="utf-8")
    addresses = dict(line.split(" = ") for line in settings["metadata"]["project_urls"].strip().split("\n"))
    text = (folder / "README.md").read_text(encoding="utf-8")
    setuptools.setup(long_description=description(text, addresses.get("Source")))
