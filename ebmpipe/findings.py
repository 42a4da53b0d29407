"""What an examination found, and how it is told: to people as a page, to machines as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

#: ``broken``: nothing runs as it is; ``warning``: something will not work, or not as meant; ``ok``: the rest.
State = Literal["ok", "warning", "broken"]
MARKS: dict[State, str] = {"ok": " ", "warning": "!", "broken": "✗"}


@dataclass(frozen=True)
class Finding:
    """One fact about this machine or project.

    Attributes:
        section: what it belongs to.
        name: what it is about.
        value: what was found.
        state: whether that is in order.
        advice: what to do where it is not.
    """

    section: str
    name: str
    value: str
    state: State = "ok"
    advice: str = ""


#: Looks at one thing; yields what it finds.
Examination = Callable[[], Iterable[Finding]]


def examine(section: str, examination: Examination) -> Iterator[Finding]:
    """What ``examination`` finds; that it broke down is a finding too, after which the next one goes on."""
    try:
        yield from examination()
    except Exception as error:
        # Whatever is broken here is what the user asks about: it must be told, and must not hide the rest.
        told = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        advice = f"report that the examination of {section} failed: {told}"
        if isinstance(error, ImportError):
            advice = f"mend the installation (`make environment`): {told}"
        yield Finding(section, "examination", f"failed ({told})", "broken", advice)


def to_do(findings: Iterable[Finding]) -> list[str]:
    """What to do, the worst first, each once."""
    wrong = [f for state in ("broken", "warning") for f in findings if f.state == state]
    return list(dict.fromkeys(finding.advice or f"{finding.name}: {finding.value}" for finding in wrong))


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """``ok`` (nothing is broken), ``findings`` and ``to_do``."""
    ok = all(finding.state != "broken" for finding in findings)
    return {"ok": ok, "findings": [asdict(finding) for finding in findings], "to_do": to_do(findings)}


def as_text(findings: list[Finding]) -> str:
    """One block per section, and last what to do."""
    lines: list[str] = []
    for section in dict.fromkeys(finding.section for finding in findings):
        chosen = [finding for finding in findings if finding.section == section]
        width = max(len(finding.name) for finding in chosen)
        lines += ["", section, *(f"{MARKS[f.state]} {f.name:{width}}  {f.value}" for f in chosen)]
    todo = to_do(findings)
    lines += ["", "What to do", *(f"  {number}. {text}" for number, text in enumerate(todo, 1))] if todo else ["", "Nothing is missing."]
    return "\n".join(lines).lstrip("\n")
