"""Check that every Lua script keeps the contract of its header: `python tools/check_lua.py`.

    -- name.lua: what it does
    -- KEYS[1] name: pattern (type)
    -- ARGV[1] name: what it is              ARGV[2..] is the second and all that follow
    -- returns what it returns
    -- @include other.lua

A header line may go on in the next, indented by three spaces. Each `KEYS[n]` and `ARGV[n]` in the
body is declared, and each declared one is used. A command's key is a declared key, a name bound
to one, a parameter, or a field or an element of one, so that no key is built in Lua. Nothing tells
the time but `redis.call('TIME')`. A file that others include has only the first line, and takes
what it needs as parameters.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]

TITLE = re.compile(r"-- (?P<name>\S+\.lua): \S.*")
KEY = re.compile(r"-- KEYS\[(?P<index>\d+)(?P<more>\.\.)?\] \w+: \S+ \([a-z ]+\)")
ARGUMENT = re.compile(r"-- ARGV\[(?P<index>\d+)(?P<more>\.\.)?\] (?P<name>\w+).*")
RETURNS = re.compile(r"-- returns \S.*")
INCLUDE = re.compile(r"-- @include (?P<name>\S+)")
CONTINUED = re.compile(r"--   +\S.*")
CLIENT_TIME = re.compile(r"now|time|timestamp|\w+_(now|time|timestamp)")

TOKEN = re.compile(
    r"(?P<skip>--\[\[.*?\]\]|--[^\n]*|\s+)"
    r"|(?P<string>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|\[\[.*?\]\])"
    r"|(?P<word>[A-Za-z_][A-Za-z_0-9]*|[0-9][\w.]*)"
    r"|(?P<symbol>\.\.\.|\.\.|[=~<>]=|.)",
    re.DOTALL,
)

# Where a command's keys are among its words, when not just the word after its name.
KEYLESS = {"TIME", "PUBLISH", "SPUBLISH", "PUBSUB", "PING", "ECHO"}
AFTER_SUBCOMMAND = {"BITOP", "MEMORY", "OBJECT", "XGROUP", "XINFO"}
AFTER_COUNT = {"LMPOP", "SINTERCARD", "ZDIFF", "ZINTER", "ZINTERCARD", "ZMPOP", "ZUNION"}
TWO_KEYS = {
    *("COPY", "GEOSEARCHSTORE", "LMOVE", "RENAME", "RENAMENX", "RPOPLPUSH", "SMOVE"),
    "ZRANGESTORE",
}
ALL_KEYS = {
    *("DEL", "EXISTS", "MGET", "PFCOUNT", "PFMERGE", "SDIFF", "SDIFFSTORE", "SINTER"),
    *("SINTERSTORE", "SUNION", "SUNIONSTORE", "TOUCH", "UNLINK"),
}


class Token(NamedTuple):
    """A piece of Lua and the line it is on."""

    text: str
    line: int


@dataclass(frozen=True)
class Script:
    """A script as its file has it."""

    path: Path
    included: bool

    @cached_property
    def text(self) -> str:
        """What the file holds."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def header(self) -> list[str]:
        """The lines of comment before anything else."""
        lines = self.text.splitlines()
        body = (i for i, line in enumerate(lines) if not line.startswith("--"))
        return lines[: next(body, len(lines))]

    @cached_property
    def code(self) -> list[Token]:
        """The tokens of the body."""
        found = TOKEN.finditer(self.text)
        return [
            Token(one.group(), self.text.count("\n", 0, one.start()) + 1)
            for one in found
            if one.lastgroup != "skip"
        ]

    def complaints(self) -> Iterator[tuple[int, str]]:
        """Yield the line and the text of everything wrong with it."""
        title = TITLE.fullmatch(self.header[0]) if self.header else None
        if not title or title["name"] != self.path.name:
            yield 1, f"the first line is `-- {self.path.name}: what it does`"
        if self.included:
            yield from self._takes_parameters()
        else:
            yield from self._header_lines()
            yield from self._declared("KEYS", KEY)
            yield from self._declared("ARGV", ARGUMENT)
        yield from self._clocks()
        yield from self._built_keys()

    def _takes_parameters(self) -> Iterator[tuple[int, str]]:
        for token in self.code:
            if token.text in {"KEYS", "ARGV"}:
                yield token.line, f"an included file takes parameters, not {token.text}"

    def _header_lines(self) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(self.header[1:], 2):
            if include := INCLUDE.fullmatch(line):
                if not (self.path.parent / include["name"]).is_file():
                    yield number, f"there is no {include['name']} beside this file"
            elif not any(form.fullmatch(line) for form in (KEY, ARGUMENT, RETURNS, CONTINUED)):
                yield number, f"not a header line: {line}"
            elif (named := ARGUMENT.fullmatch(line)) and CLIENT_TIME.fullmatch(named["name"]):
                yield number, "no client's clock: take redis.call('TIME')"
        if not any(RETURNS.fullmatch(line) for line in self.header):
            yield 1, "the header lacks `-- returns ...`"

    def _declared(self, array: str, form: re.Pattern[str]) -> Iterator[tuple[int, str]]:
        fixed: dict[int, int] = {}
        rest: dict[int, int] = {}
        for line, text in enumerate(self.header, 1):
            if found := form.fullmatch(text):
                expected = len(fixed) + len(rest) + 1
                if int(found["index"]) != expected:
                    yield line, f"{array}[{found['index']}] stands where {array}[{expected}] should"
                (rest if found["more"] else fixed)[int(found["index"])] = line
        used, as_a_whole = self._uses(array)
        for index, line in used.items():
            if index not in fixed and all(index < first for first in rest):
                yield line, f"{array}[{index}] is used and not declared"
        for index, line in fixed.items():
            if index not in used:
                yield line, f"{array}[{index}] is declared and not used"
        if rest and not as_a_whole:
            yield min(rest.values()), f"{array}[n..] is declared, and {array} not used as a whole"
        if as_a_whole and not rest:
            yield as_a_whole, f"{array} is used as a whole, and no {array}[n..] is declared"

    def _uses(self, array: str) -> tuple[dict[int, int], int]:
        """Return the line of each index used, and one where the array is used as a whole."""
        used: dict[int, int] = {}
        as_a_whole = 0
        for i, token in enumerate(self.code):
            if token.text == array:
                element = re.match(r"\[(\d+)\]", "".join(t.text for t in self.code[i + 1 : i + 4]))
                if element:
                    used.setdefault(int(element[1]), token.line)
                else:
                    as_a_whole = token.line
        return used, as_a_whole

    def _clocks(self) -> Iterator[tuple[int, str]]:
        for library, _, function in zip(self.code, self.code[1:], self.code[2:], strict=False):
            if library.text == "os" and function.text in {"time", "clock", "date"}:
                yield library.line, f"os.{function.text}: the time is redis.call('TIME')"

    def _built_keys(self) -> Iterator[tuple[int, str]]:
        names = key_names(self.code)
        for i, token in enumerate(self.code):
            if token.text not in {"call", "pcall"} or self.code[i - 2].text != "redis":
                continue
            if self.code[i + 1].text != "(":
                yield token.line, f"redis.{token.text} is called where it is named, under that name"
            for key in keys_among(arguments(self.code[i + 2 :])):
                spelled = "".join(key)
                field_of = re.fullmatch(r"(\w+)(?:\.\w+|\[\w+\])", spelled)
                known = spelled in names or (field_of is not None and field_of[1] in names)
                if not is_key_element(key) and not known:
                    yield token.line, f"{spelled or 'no word'} is not a declared key"


def keys_among(words: list[list[str]]) -> list[list[str]]:
    """Return those words of a command that are its keys."""
    command = words[0][0].strip("'\"").upper() if len(words[0]) == 1 else ""
    if command in KEYLESS:
        return []
    if command in AFTER_SUBCOMMAND | AFTER_COUNT:
        return words[2:3] or [[]]
    if command in TWO_KEYS:
        return words[1:3]
    if command in ALL_KEYS:
        return words[1:]
    return words[1:2] or [[]]


def arguments(code: list[Token]) -> list[list[str]]:
    """Return the arguments of a call, from the code behind its opening parenthesis."""
    found: list[list[str]] = [[]]
    depth = 0
    for token in code:
        depth += (token.text in "([{") - (token.text in ")]}")
        if depth < 0:
            break
        if token.text == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(token.text)
    return found


def is_key_element(words: list[str]) -> bool:
    """Whether an expression is `KEYS[...]` and no more."""
    return words[:2] == ["KEYS", "["] and words.index("]") == len(words) - 1


def key_names(code: list[Token]) -> set[str]:
    """Return the names that are only ever bound to keys, or are parameters."""
    keys: set[str] = set()
    others: set[str] = set()
    for i, token in enumerate(code):
        line = [t.text for t in code[i + 1 :] if t.line == token.line]
        if token.text == "function":
            opened = line.index("(")
            keys.update(line[opened + 1 : line.index(")")])
        elif token.text == "for" and "in" in line:
            over_keys = line[line.index("in") + 1 :][:3] == ["ipairs", "(", "KEYS"]
            (keys if over_keys else others).update(line[: line.index("in")])
        elif token.text == "local" and line[0] != "function":
            bind(line, keys, others)
        elif line[:1] == ["="] and code[i - 1].text not in {".", ",", "{", "local", "for"}:
            bind([token.text, *line], keys, others)
    return keys - others


def bind(line: list[str], keys: set[str], others: set[str]) -> None:
    """Note what `a, b = x, y` binds: a name to a key, or to something else."""
    names, values = line, []
    if "=" in line:
        names = line[: line.index("=")]
        values = arguments([Token(text, 0) for text in line[line.index("=") + 1 :]])
    for i, name in enumerate(name for name in names if name != ","):
        value = values[i] if i < len(values) else []
        # A choice between keys is one too: `local set = dense and ties or scores`.
        is_key = value[-1:] and value[-1] in keys and not {"..", "("} & set(value)
        (keys if is_key or is_key_element(value) else others).add(name)


def check(folder: Path) -> Iterator[str]:
    """Yield one line per fault in the scripts below a folder."""
    paths = sorted(folder.rglob("*.lua"))
    included = {
        (path.parent / include["name"]).resolve()
        for path in paths
        for line in path.read_text(encoding="utf-8").splitlines()
        if (include := INCLUDE.fullmatch(line))
    }
    for path in paths:
        for number, complaint in Script(path, path in included).complaints():
            yield f"{path.relative_to(folder)}:{number}: {complaint}"


def main() -> int:
    """Print every fault and return 1 if there is one."""
    faults = list(check(ROOT / "src"))
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
