"""What a part of it saw: its figures, and the promises that were broken."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Account:
    """Of one part; `tell` is told what is done now."""

    tell: Callable[[str], None] = lambda _: None
    figures: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def figure(self, name: str, value: object) -> None:
        """Put it down, and tell it."""
        self.figures[name] = str(value)
        self.tell(f"{name}: {value}")

    def promise(self, is_kept: bool, otherwise: str) -> None:
        """Put down what is the case *otherwise*."""
        if not is_kept:
            self.broken.append(otherwise)
            self.tell(f"BROKEN: {otherwise}")

    def as_text(self) -> str:
        """A line for each, indented."""
        lines = [
            *(f"{name}: {value}" for name, value in self.figures.items()),
            *(f"BROKEN: {one}" for one in self.broken),
        ]
        return "".join(f"  {line}\n" for line in lines)
