"""`octavo doctor`: is this server fit for octavo?"""

from __future__ import annotations

import sys

import msgspec

import octavo

_MARKS = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}


def doctor(url: str | None = None, *, as_json: bool = False) -> None:
    """Check a server, print what was found, and exit with 1 if a promise does not hold on it."""
    with octavo.connect(url) as db:
        report = db.doctor()
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        for finding in report.findings:
            print(f"{_MARKS[finding.level]}  {finding.check}: {finding.found}")
            if finding.cure is not None:
                print(f"         -> {finding.cure}")
    raise SystemExit(0 if report.ok else 1)
