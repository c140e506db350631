"""Numbers that a run tells besides "passed": printed at its end."""

lines: list[str] = []


def measured(text: str) -> None:
    """Keeps a line for the end of the run."""
    lines.append(text)
