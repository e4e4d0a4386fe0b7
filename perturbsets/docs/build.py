"""Builds the documentation as one static site: `python perturbsets/docs/build.py site`.

The reference comes from the docstrings (through pdoc), the pages from the Markdown files beside the code, the
tutorials from the scripts in recipes/tutorials. A warning, a broken link or an undocumented public name is an error.
"""

from __future__ import annotations

import html
import importlib
import inspect
import itertools
import os
import pkgutil
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

from augment.extras import extra

with extra("docs", "the documentation"):
    import jinja2
    import pdoc.doc
    import pdoc.render
    from latex2mathml.converter import convert as mathml
    from pdoc.render_helpers import to_html, to_markdown

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("perturbsets", "augment", "cvae")
MENU = {  # file -> name of its page, without ".html"
    "Start": {
        "README.md": "index",
        "perturbsets/docs/install.md": "install",
        "perturbsets/docs/choose.md": "choose",
        "perturbsets/docs/glossary.md": "glossary",
        "perturbsets/docs/overview.md": "overview",
        "recipes/README.md": "recipes",
    },
    "Tutorials": {
        "recipes/tutorials/attack.py": "attack",
        "recipes/tutorials/learn.py": "learn",
        "recipes/tutorials/train.py": "train",
        "recipes/tutorials/certify.py": "certify",
    },
    "Guides": {
        "perturbsets/docs/command-line.md": "command-line",
        "perturbsets/README.md": "own-parts",
        "augment/README.md": "transforms",
        "perturbsets/multi_label/README.md": "multi-label",
        "perturbsets/knowledge/README.md": "rules",
        "perturbsets/representations/README.md": "representations",
        "perturbsets/criteria/theorems/README.md": "theorems",
        "perturbsets/docs/bad-input.md": "bad-input",
        "CONTRIBUTING.md": "contributing",
        "CHANGELOG.md": "changelog",
    },
}
PAGES = {file: page for section in MENU.values() for file, page in section.items()}


def main(folder: Path) -> list[str]:
    """Writes the site into a folder and returns what is wrong with it, a line each."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    public = {f"{package}.{name}": name for package in PACKAGES for name in importlib.import_module(package).__all__}
    modules = reference_modules()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        copied: set[str] = set()
        for file, page in PAGES.items():
            modules[page] = markdown_page(file, page, copied)
        links = {
            name: f"{module.modulename.replace('.', '/')}.html#{name}"
            for module in reversed(modules.values())
            for name in getattr(module.obj, "__all__", ())
        }
        configure(links)
        for module in modules.values():
            write(folder / f"{module.modulename.replace('.', '/')}.html", pdoc.render.html_module(module, modules))
        write(folder / "search.js", pdoc.render.search_index(modules))
    for file in copied:
        write(folder / "files" / file, (ROOT / file).read_bytes())
    absent = (full for full, name in public.items() if name not in links and full not in modules)
    missing = [f"{full} has no entry in the reference" for full in absent]
    return [str(each.message) for each in caught] + missing + list(broken_links(folder))


def reference_modules() -> dict[str, pdoc.doc.Module]:
    """A page for each package; every name is documented once, in the package nearest to the top that exports it."""
    documented: set[int] = set()
    modules: dict[str, pdoc.doc.Module] = {}
    for root in PACKAGES:
        top = importlib.import_module(root)
        names = [root] + [each.name for each in pkgutil.walk_packages(top.__path__, f"{root}.") if is_public(each)]
        packages = {name: importlib.import_module(name) for name in names}
        # The names of `perturbsets` are those of its subpackages; `augment` and `cvae` are imported from as they are.
        order = sorted(names, key=lambda name: (name == "perturbsets", name.count(".")))
        for name in order:
            own = [each for each in exported(packages[name]) if id(getattr(packages[name], each)) not in documented]
            documented |= {id(getattr(packages[name], each)) for each in own}
            packages[name].__all__ = own  # type: ignore[attr-defined]
            for each in own:
                resolve_annotations(getattr(packages[name], each))
        kept = [name for name in names if packages[name].__all__ or name == root]
        modules |= {name: pdoc.doc.Module(packages[name]) for name in kept}
        for name in kept:
            listed = kept if name == "perturbsets" else [name]
            tables = "\n\n".join(summary(packages[each], name) for each in listed if packages[each].__all__)
            modules[name].__dict__["docstring"] = f"{inspect.getdoc(packages[name])}\n\n{tables}"
    return modules


def is_public(module: pkgutil.ModuleInfo) -> bool:
    """Packages, and the modules that are imported by their own name."""
    return "._" not in module.name and (module.ispkg or module.name == "perturbsets.albumentations")


def exported(package: ModuleType) -> list[str]:
    """Public names of a package that are defined inside of it."""

    def inside(value: object) -> bool:
        home = f"{getattr(value, '__module__', '')}."
        return not inspect.ismodule(value) and home.startswith(f"{package.__name__}.")

    names = getattr(package, "__all__", None) or vars(package)
    return [name for name in names if not name.startswith("_") and inside(getattr(package, name))]


def resolve_annotations(value: object) -> None:
    """Evaluates annotations of constructors where they were written; pdoc looks in the package that exports them."""
    if not inspect.isclass(value):
        return
    written = [vars(sys.modules[base.__module__]) for base in reversed(value.__mro__)]
    names = {key: each for module in written for key, each in module.items()}
    for make in filter(inspect.isfunction, (value.__init__, value.__new__)):  # type: ignore[misc, arg-type]
        signature = inspect.signature(make)
        texts = [getattr(each.annotation, "__forward_arg__", each.annotation) for each in signature.parameters.values()]
        parameters = [
            each.replace(annotation=eval(text, names) if isinstance(text, str) else text)
            for each, text in zip(signature.parameters.values(), texts, strict=True)
        ]
        make.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]


def summary(package: ModuleType, page: str) -> str:
    """A table of the names of a package with the first sentences of their docstrings."""
    rows = [f"| `{name}` | {first_line(getattr(package, name))} |" for name in package.__all__]
    heading = f"### {package.__name__}\n\n" if package.__name__ != page else ""
    return heading + "\n".join(["| name | what it is |", "|---|---|", *rows])


def first_line(value: object) -> str:
    """The summary of a docstring, fit for a cell of a table."""
    paragraph = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    paragraph = re.sub(
        ":math:`[^`]+`", lambda found: found[0].replace(r"\|", r"\Vert ").replace("|", r"\vert "), paragraph
    )
    return paragraph.replace("|", r"\|")


def markdown_page(file: str, page: str, copied: set[str]) -> pdoc.doc.Module:
    """A Markdown file or a tutorial as a page of the site, with links that lead inside the site.

    The file is a path from the top of the repository; ``copied`` gets the other files that the page links to.
    """
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.endswith(".py"):
        text = tutorial(text)

    def inside(found: re.Match[str]) -> str:
        address, _, anchor = found["address"].partition("#")
        if not address or "://" in address:
            return found[0]
        target = os.path.relpath((ROOT / file).parent / address, ROOT)
        if (ROOT / target).is_dir() and (ROOT / target / "README.md").exists():
            target = f"{target}/README.md"
        if target in PAGES:
            return f"]({PAGES[target]}.html{'#' if anchor else ''}{anchor})"
        if (ROOT / target).is_file():
            copied.add(target)
        return f"](files/{target})"

    module = ModuleType(page, re.sub(r"\]\((?P<address>[^)\s]+)\)", inside, text))
    module.__docformat__ = "markdown"  # type: ignore[attr-defined]
    return pdoc.doc.Module(module)


def tutorial(source: str) -> str:
    """A script as a page: the docstring opens it, comments at the left margin are text, the rest is code."""
    opening, _, body = source.removeprefix('"""').partition('"""\n')
    heading, _, text = opening.partition("\n")
    parts = [f"# {heading.rstrip('.')}", text.strip()]
    for prose, lines in itertools.groupby(body.splitlines(), lambda line: line == "#" or line.startswith("# ")):
        block = "\n".join(line.removeprefix("#").removeprefix(" ") if prose else line for line in lines).strip("\n")
        if block:
            parts.append(block if prose else f"```python\n{block}\n```")
    return "\n\n".join(parts)


def configure(links: dict[str, str]) -> None:
    """Sets pdoc up: Google docstrings, mathematics as MathML, public names linked wherever they stand as code."""
    pdoc.render.configure(docformat="google", include_undocumented=False, footer_text="")
    folder = Path(__file__).parent
    own = {"module.html.jinja2": (folder / "module.html"), "custom.css": (folder / "site.css")}
    environment = pdoc.render.env
    assert environment.loader is not None  # pdoc has set it
    loader = jinja2.DictLoader({name: path.read_text(encoding="utf-8") for name, path in own.items()})
    environment.loader = jinja2.ChoiceLoader([loader, environment.loader])
    environment.globals["menu"] = {
        section: {page: title(ROOT / file) for file, page in pages.items()} for section, pages in MENU.items()
    }
    environment.globals["packages"] = PACKAGES
    formulas: list[str] = []

    @jinja2.pass_context
    def markdown(context: jinja2.runtime.Context, docstring: str) -> str:
        module = context["module"]
        if re.search("^==+ ==", docstring, re.MULTILINE):
            warnings.warn(f"{module.modulename} has a table of reStructuredText: write one of Markdown", stacklevel=2)
        return to_markdown(keep_formulas(docstring, formulas), module, context["docformat"])

    @jinja2.pass_context
    def rendered(context: jinja2.runtime.Context, text: str) -> str:
        up = "../" * context["module"].modulename.count(".")

        def linked(found: re.Match[str]) -> str:
            target, text = links.get(found["name"]), found["name" if found["short"] else "text"]
            return f'<code><a href="{up}{target}">{text}</a></code>' if target else f"<code>{text}</code>"

        page = to_html(text)
        contents = getattr(page, "toc_html", None)
        page = re.sub(r"<code>(?P<short>~?)(?P<text>(?:\w+\.)*(?P<name>\w+)(?:\(\))?)</code>", linked, page)
        page = WithContents(re.sub(r"xformula(\d+)x", lambda found: formulas[int(found[1])], page))
        page.toc_html = contents
        return page

    environment.filters |= {"to_markdown": markdown, "to_html": rendered}


class WithContents(str):
    """HTML with a table of contents beside it, which pdoc's template reads."""

    toc_html: str | None


def title(path: Path) -> str:
    """The first heading of a page, or the first line of a tutorial."""
    return path.read_text(encoding="utf-8").split("\n", 1)[0].strip('#". ')


def keep_formulas(text: str, formulas: list[str]) -> str:
    """Puts a mark in the place of every formula, so that Markdown leaves it alone; the list gets its MathML."""

    def mark(found: re.Match[str]) -> str:
        display = found["block"] or found["directive"]
        formula = display or found["inline"] or found["role"]
        if formula is None:
            return found[0]  # code
        converted = mathml(" ".join(formula.split()), display="block" if display else "inline")
        formulas.append(re.sub(r'<mi mathvariant="(script|double-struck)">([A-Z])</mi>', letter, converted))
        return f"{found['indent'] or ''}xformula{len(formulas) - 1}x"

    return re.sub(
        r"^```math\n(?P<block>.*?)```$|^```.*?^```$|:math:`(?P<role>[^`]+)`|``[^`]*``|`[^`\n]*`"
        r"|(?<![\\$\w])\$(?P<inline>[^$\n]+?)\$(?!\w)"
        r"|^(?P<indent> *)\.\. math::(?P<directive>[^\n]*(?:\n(?P=indent) +[^\n]+|\n(?=\n(?P=indent) ))*)",
        mark,
        text,
        flags=re.DOTALL | re.MULTILINE,
    )


def letter(found: re.Match[str]) -> str:
    """A script or double-struck capital as the character that browsers draw."""
    name = f"{found[1].upper()} CAPITAL {found[2]}"
    try:
        return f"<mi>{unicodedata.lookup(f'MATHEMATICAL {name}')}</mi>"
    except KeyError:  # the older ones, such as the real numbers
        return f"<mi>{unicodedata.lookup(name)}</mi>"


def broken_links(folder: Path) -> Iterator[str]:
    """Links of the site that lead nowhere."""
    pages = {path: path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    anchors = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    for path, text in pages.items():
        shown = re.sub("<script.*?</script>", "", text, flags=re.DOTALL)
        for address in set(re.findall(r'\b(?:href|src)="([^"]+)"', shown)):
            file, _, anchor = html.unescape(address).partition("#")
            if "://" in file or file.startswith(("data:", "mailto:")):
                continue
            target = (path.parent / unquote(file)).resolve() if file else path
            if not target.exists() or (anchor and target in anchors and unquote(anchor) not in anchors[target]):
                yield f"{path.relative_to(folder)} links to {address}, which is not there"


def write(path: Path, content: str | bytes) -> None:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


if __name__ == "__main__":
    faults = main(Path(sys.argv[1] if len(sys.argv) > 1 else "site").resolve())
    print("\n".join(faults) or "no warnings", file=sys.stderr)
    sys.exit(bool(faults))
