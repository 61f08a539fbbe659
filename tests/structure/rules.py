#!/usr/bin/env python3
"""The rules of the tree's structure, checked on sources alone. Prints each breach as file:line: what; exit status 1 when there is any.

usage: rules.py ROOT RULE...

  imports       a room of core includes only rooms below it; plugins include <perennial/...>, the system's headers, their own folder and
                the common folder of their kind; nothing outside core includes core, except tests
  calls         core (outside cli and report) and plugins never print, exit, abort or assert
  lengths       no source file has more than 1,000 lines
  constructors  no code runs when a library is loaded: no constructors, no destructors
  globals       plugins have no variables that live beyond a call, besides constant tables
  unfinished    no marks of unfinished work
"""
import pathlib
import re
import sys

ROOMS = [["base"], ["program"], ["plugin"], ["data"], ["model"], ["train", "eval"], ["ledger"], ["run", "bench"], ["suite", "recipe"], ["report"], ["page"], ["cli"]]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
MAY_PRINT = {"cli", "report"}
SOURCES = {".c", ".h", ".inc", ".cu", ".cuh", ".cpp"}
LONGEST = 1000

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)
FORBIDDEN = re.compile(r"(?<![\w.>])(_?_?exit|_Exit|quick_exit|abort|assert|v?printf|v?fprintf|v?dprintf|puts|fputs|putchar|putc|fputc|perror|psignal)\s*\(")
CONSTRUCTOR = re.compile(r"\b(?:__)?(?:con|de)structor(?:__)?\b\s*(?=[()])|\.(?:init|fini|ctors|dtors)(?:_array)?\b")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|stub(?:bed)?)\b")
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'', re.S)


def blank(match):
    """Keeps line numbers and string quotes, drops what is between."""
    text = match.group()
    keep = text[0] if text[0] in "\"'" else " "
    return keep + "\n" * text.count("\n") + (keep if keep != " " else "")


def line_of(text, position):
    return text.count("\n", 0, position) + 1


class Tree:
    def __init__(self, root):
        self.root = root
        self.breaches = []
        self.looked_at = 0

    def sources(self, *folders):
        for folder in folders:
            for path in sorted((self.root / folder).rglob("*")):
                if path.suffix in SOURCES and path.is_file():
                    self.looked_at += 1
                    yield path, path.relative_to(self.root)

    def breach(self, path, line, what):
        self.breaches.append(f"{path}:{line}: {what}")

    def matches(self, path, relative, pattern, what):
        code = COMMENT_OR_STRING.sub(blank, path.read_text(encoding="utf-8"))
        for match in pattern.finditer(code):
            self.breach(relative, line_of(code, match.start()), what.format(match.group(1) if match.re.groups else match.group().strip()))

    # ---- rules ----

    def imports(self):
        for path, relative in self.sources("core", "plugins", "include", "tests", "tools"):
            text = path.read_text(encoding="utf-8")
            text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
            for match in INCLUDE.finditer(text):
                self.import_of(path, relative, line_of(text, match.start()), match.group(1) == "<", match.group(2))

    def import_of(self, path, relative, line, is_system, name):
        area = relative.parts[0]
        target = name.split("/")[0]
        reaches_core = target in LEVEL and "/" in name and (self.root / "core" / name).is_file() or "core" in pathlib.PurePath(name).parts
        if area == "core":
            room = relative.parts[1]
            if room not in LEVEL:
                self.breach(relative, line, f"'{room}' is no room; rooms are listed in tests/structure/rules.py, lowest first")
            elif is_system:
                if name.startswith("perennial/") and not (self.root / "include" / name).is_file():
                    self.breach(relative, line, f"<{name}> is not in the SDK")
            elif "/" not in name or target not in LEVEL:
                self.breach(relative, line, f'"{name}": includes inside core name the room: "room/file.h"')
            elif target != room and LEVEL[target] >= LEVEL[room]:
                self.breach(relative, line, f"{room} includes {target}, which is not below it")
        elif area == "plugins":
            if is_system:
                if name.startswith("perennial/") and not (self.root / "include" / name).is_file():
                    self.breach(relative, line, f"<{name}> is not in the SDK")
                return
            found = (path.parent / name).resolve()
            own = (self.root / pathlib.Path(*relative.parts[:3])).resolve()
            common = (self.root / pathlib.Path(*relative.parts[:2]) / "common").resolve()
            if not (found.is_file() and (found.is_relative_to(own) or found.is_relative_to(common))):
                self.breach(relative, line, f'"{name}": a plugin includes the SDK, the system, its own folder and plugins/backends/common only')
        elif area == "include":
            if name.startswith("perennial/") != is_system and not is_system or reaches_core or target == "plugins":
                self.breach(relative, line, f'"{name}": the SDK includes itself, by <perennial/...>, and the system')
        elif area != "tests" and reaches_core:
            self.breach(relative, line, f'"{name}": nothing outside core includes core, except tests')

    def calls(self):
        for path, relative in self.sources("core", "plugins"):
            if relative.parts[0] == "core" and relative.parts[1] in MAY_PRINT:
                continue
            self.matches(path, relative, FORBIDDEN, "calls {}(); return an error, or log through the host")

    def lengths(self):
        for path, relative in self.sources("core", "plugins", "include", "tests", "tools"):
            lines = path.read_bytes().count(b"\n")
            if lines > LONGEST:
                self.breach(relative, lines, f"{lines} lines; split it where its parts know least of each other")

    def constructors(self):
        for path, relative in self.sources("core", "plugins", "include"):
            self.matches(path, relative, CONSTRUCTOR, "has a constructor or destructor ({})")

    def globals(self):
        for path, relative in self.sources("plugins"):
            code = COMMENT_OR_STRING.sub(blank, path.read_text(encoding="utf-8"))
            for match in re.finditer(r"(?:^|(?<=[;{}]))[ \t]*(?:static|_Thread_local|__thread)\s+(?!inline\b)([^;{}()=\[]*)(?=[=;\[])", code, re.M):
                declaration = match.group(1)
                constant = re.search(r"\bconst\b", declaration) and ("*" not in declaration or re.search(r"\*\s*const\b", declaration))
                if not constant:
                    self.breach(relative, line_of(code, match.start()), f"'{' '.join(declaration.split())}' outlives the call; keep it in an instance")

    def unfinished(self):
        for path, relative in self.sources("core", "plugins", "include"):
            text = path.read_text(encoding="utf-8")
            for match in UNFINISHED.finditer(text):
                self.breach(relative, line_of(text, match.start()), f"a mark of unfinished work ({match.group(1)})")


def main():
    rules = ["imports", "calls", "lengths", "constructors", "globals", "unfinished"]
    if len(sys.argv) < 3 or any(name not in rules for name in sys.argv[2:]):
        print(__doc__)
        return 2
    tree = Tree(pathlib.Path(sys.argv[1]).resolve())
    for name in sys.argv[2:]:
        getattr(tree, name)()
    for breach in tree.breaches:
        print(breach)
    if tree.looked_at == 0:
        print("no sources were found; is that the tree's root?")
        return 1
    print(f"{tree.looked_at} files, {len(tree.breaches)} breaches")
    return 1 if tree.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
