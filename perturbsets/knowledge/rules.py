"""Rules that link labels to classes, as data: from Python, from a YAML file, or from a built-in table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from perturbsets.knowledge.bound_rules import BoundRules
from perturbsets.knowledge.formula import Formula, labels_of, read_formula, renamed
from perturbsets.knowledge.logic import contradictions
from perturbsets.printing import Printed

TABLES: Mapping[str, str] = {"ck+": "ck_plus.yaml", "emfacs": "emfacs.yaml", "segments": "segments.yaml"}


@dataclass(frozen=True)
class Rules(Printed):
    """For each class a formula over the labels of its images.

    Args:
        labels: Names of the labels that formulas may use.
        classes: Class to formula, such as ``"AU1 and AU2 and not AU4"``.
        stand_ins: Label to the label that replaces it where data lack it: ``{"AU5B": "AU5"}`` for data without
            intensities.

    Raises:
        ValueError: If a formula is no text, cannot be read, names an unknown label, or is met by no states, or if two
            classes have equivalent formulas; all such faults are listed.

    Example:
        >>> rules = Rules(("AU1", "AU2", "AU12"), {"Happy": "AU12", "Surprise": "AU1 and AU2"})
        >>> rules.bind(["AU12", "AU1", "AU2"], ["Surprise", "Happy"]).classes
        ('Surprise', 'Happy')
    """

    labels: Sequence[str]
    classes: Mapping[str, str]
    stand_ins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = _misnamed("labels", self.labels) + _misnamed("classes", list(self.classes))
        faults += [
            f"stand_ins: {label} for {other}, but {name} is no label"
            for other, label in self.stand_ins.items()
            for name in (other, label)
            if name not in self.labels
        ]
        formulas: dict[str, Formula] = {}
        for name, text in self.classes.items():
            if not isinstance(text, str):
                faults.append(f"class {name}: its rule must be text, got {text!r}: quote it")
                continue
            try:
                formulas[name] = read_formula(text)
            except ValueError as error:
                faults.append(f"class {name}: {error}")
                continue
            unknown = [label for label in labels_of(formulas[name]) if label not in self.labels]
            faults += [f"class {name}: its rule names {label}, which is no label" for label in unknown]
        _refuse(faults or contradictions(formulas))

    @classmethod
    def read(cls, path: Path | str) -> Rules:
        """Reads rules from a YAML file.

        Args:
            path: A file with the keys ``labels`` (a list), ``classes`` (class to formula) and perhaps ``stand_ins``.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no such YAML, or as for the rules themselves.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"rules must be a YAML file with labels and classes, got {path}, which is no file; built-in tables "
                f"are {', '.join(map(repr, TABLES))}: Rules.builtin reads them"
            )
        try:
            return cls(**_content(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def builtin(cls, table: str) -> Rules:
        """Rules of a built-in table.

        Args:
            table: ``"ck+"`` or ``"emfacs"`` for action units and expressions of faces, both simplified; ``"segments"``
                for digits and the segments of a display, exact.

        Raises:
            ValueError: If there is no such table.

        Example:
            >>> Rules.builtin("ck+").classes["Fear"]
            'AU1 and AU2 and AU4'
        """
        if table not in TABLES:
            raise ValueError(
                f"table must be one of {', '.join(map(repr, TABLES))}, got {table!r}: Rules.read reads a file"
            )
        text = (resources.files(__package__) / "tables" / TABLES[table]).read_text(encoding="utf-8")
        return cls(**_content(text))

    def bind(self, label_names: Sequence[str], class_names: Sequence[str]) -> BoundRules:
        """Binds the rules to the labels and classes of data, in their order.

        Args:
            label_names: Labels of the data, in the order of the columns of states and logits; there may be more than
                the rules name.
            class_names: Classes of the data, in the order of their numbers.

        Raises:
            ValueError: If a rule is for a class, or names a label, that the data lack, a class has no rule, or rules
                contradict once labels are replaced by their stand-ins; all such faults are listed.
        """
        faults = _misnamed("label_names", label_names) + _misnamed("class_names", class_names)
        lacking = {other: label for other, label in self.stand_ins.items() if other not in label_names}
        rules = {name: renamed(read_formula(text), lacking) for name, text in self.classes.items()}
        faults += [f"class {name}: it has a rule, but the data lack it" for name in rules if name not in class_names]
        faults += [f"class {name}: it has no rule" for name in class_names if name not in rules]
        faults += [
            f"class {name}: its rule names {label}, which the data lack"
            for name, rule in rules.items()
            for label in labels_of(rule)
            if label not in label_names
        ]
        _refuse(faults or (contradictions(rules) if lacking else []))
        return BoundRules(tuple(label_names), tuple(class_names), tuple(rules[name] for name in class_names))


def _misnamed(name: str, given: Sequence[str]) -> list[str]:
    """Faults of a list of names."""
    twice = [each for each, count in Counter(given).items() if count > 1]
    return [f"{name}: there are none"] * (not given) + [f"{name}: {each} is named twice" for each in twice]


def _refuse(faults: list[str]) -> None:
    if faults:
        raise ValueError(
            f"rules must link known labels to known classes without contradiction, got {len(faults)} "
            f"fault{'s' * (len(faults) > 1)}:\n" + "\n".join(f"  {fault}" for fault in faults)
        )


def _content(text: str) -> dict[str, Any]:
    """The arguments in a YAML text; classes may be whole numbers, as the names of digits are."""
    content = yaml.load(text, Loader=_UniqueKeys)
    keys = set(content) if isinstance(content, dict) else set()
    if not {"labels", "classes"} <= keys <= {"labels", "classes", "stand_ins"}:
        got = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"must hold the keys labels and classes, and perhaps stand_ins, got {got}")
    labels, classes, stand_ins = content["labels"], content["classes"], content.get("stand_ins", {})
    if not isinstance(labels, list) or not isinstance(classes, dict) or not isinstance(stand_ins, dict):
        raise ValueError("labels must be a list, classes and stand_ins mappings")
    classes = {str(name) if type(name) is int else name: rule for name, rule in classes.items()}
    words = [*labels, *classes, *classes.values(), *stand_ins, *stand_ins.values()]
    if others := [repr(word) for word in words if not isinstance(word, str)]:
        raise ValueError(f"labels, classes, formulas and stand_ins must be text, got {', '.join(others)}: quote them")
    return {"labels": tuple(labels), "classes": classes, "stand_ins": stand_ins}


class _UniqueKeys(yaml.SafeLoader):
    """Reads plain values, and refuses a key that is given twice: the first rule would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: given twice in one mapping, keep one")
        return super().construct_mapping(node, deep)
