#!/usr/bin/env python3
"""Every function and callback of the SDK says which threads may call it: the comment before it, or the one behind it on its last
line, ends with [any], [orchestrator] or [worker]. Prints each one that does not; exit status 1 when there is any.

usage: thread_tags.py HEADER...
"""
import re
import sys

TAG = re.compile(r"\[(any|orchestrator|worker)\]$")
TOKEN = re.compile(r"""(?P<comment>/\*.*?\*/|//[^\n]*)|(?P<directive>^[ \t]*\#(?:[^\n\\]|\\.)*)|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<end>[;{}])|(?P<space>\s+)|(?P<word>\w+|.)""", re.S | re.M | re.X)


def comment_text(comment):
    return comment.removeprefix("/*").removesuffix("*/").removeprefix("//").strip()


def callable_name(words):
    """The name of the function or function pointer that a statement declares, or None."""
    text = re.sub(r"__attribute__ (\((?: [^()]+| \((?: [^()]+| \([^()]*\))* \))* \) )", "", " ".join(words) + " ")
    pointer = re.search(r"\( \* (?:const )?(\w+)(?: \[ \w* \])? \) \(", text)
    if pointer:
        return pointer.group(1)
    function = re.match(r"(?:[\w*]+ )*?(\w+) \(", text)
    return function.group(1) if function and "=" not in words else None


def check(path):
    text = open(path, encoding="utf-8").read()
    untagged, words, before, depth_to_skip, pending = [], [], None, 0, None
    line = 1
    found = 0

    def settle(after):
        nonlocal pending
        name, at, comment = pending
        if not any(c is not None and TAG.search(comment_text(c)) for c in (comment, after)):
            untagged.append((at, name))
        pending = None

    for token in TOKEN.finditer(text):
        kind, value = token.lastgroup, token.group()
        if pending and (kind not in ("space", "comment") or "\n" in value and kind == "space"):
            settle(None)
        if depth_to_skip:
            depth_to_skip += {"{": 1, "}": -1}.get(value, 0) if kind == "end" else 0
        elif kind == "comment":
            if pending:
                settle(value)
            elif not words or not TAG.search(comment_text(before or "")):
                before = value
        elif kind in ("word", "string"):
            words.append(value)
        elif kind == "end":
            name = callable_name(words)
            if name and value in ";{":
                found += 1
                pending = (name, line, before)
            if value == "{" and name:
                settle(None)
                depth_to_skip = 1
            elif value == "{" and "enum" in words:
                depth_to_skip = 1
            # the name behind a struct's closing brace is a statement of its own; it declares nothing callable
            words, before = [], None
        line += value.count("\n")
    if pending:
        settle(None)
    for at, name in untagged:
        print(f"{path}:{at}: the comment of {name} does not end with its thread tag: [any], [orchestrator] or [worker]")
    return found, len(untagged)


def main():
    results = [check(path) for path in sys.argv[1:]]
    found, untagged = (sum(column) for column in zip(*results)) if results else (0, 0)
    if found == 0:
        print("no function was found; name at least one header that has some")
        return 1
    print(f"{found} functions and callbacks, {untagged} without a tag")
    return 1 if untagged else 0


if __name__ == "__main__":
    sys.exit(main())
