"""`anteroom doctor`, and a proxy that spoils WebSockets."""

import asyncio
import json
import re

from .program import command
from .relay import Relay


class Diagnosis:
    """What the doctor found."""

    def __init__(self, code: int, report: dict) -> None:
        self.code = code
        self.report = report
        self.summary: str = report["summary"]
        self.warnings: list[str] = report["warnings"]
        self.broken_at: str | None = report["broken_at"]

    def steps(self, hop: str) -> list[dict]:
        """All steps of this kind."""
        return [step for step in self.report["steps"] if step["hop"] == hop]

    def step(self, hop: str) -> dict:
        """The only step of this kind."""
        (found,) = self.steps(hop)
        return found

    def statuses(self) -> dict[str, set[str]]:
        """What became of each kind of step."""
        hops = [step["hop"] for step in self.report["steps"]]
        return {hop: {step["status"] for step in self.steps(hop)} for hop in hops}


async def diagnose(
    url: str,
    *arguments: str,
    # A busy machine is not what is looked for.
    seconds: int = 10,
    environment: dict[str, str] | None = None,
) -> Diagnosis:
    """Asks the doctor about a URL."""
    arguments = ("--timeout", str(seconds), *arguments)
    code, out, error = await command(
        "doctor", url, "--json", *arguments, seconds=120, environment=environment
    )
    assert out, error
    diagnosis = Diagnosis(code, json.loads(out))
    assert code == (0 if diagnosis.report["ok"] else 1), out
    return diagnosis


class Stripping(Relay):
    """Passes everything on but the fields of a handshake, as a proxy for HTTP/1.0 does."""

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fields = re.compile(rb"\r\n(?:upgrade|connection): [^\r]*", re.IGNORECASE)
        try:
            while data := await reader.read(65_536):
                writer.write(fields.sub(b"", data))
                await writer.drain()
        finally:
            writer.close()
