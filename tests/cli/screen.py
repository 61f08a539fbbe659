"""What a program shows on a terminal: runs it on a pseudo-terminal of a given size and interprets what it writes.

`shows(text)` waits until the text stands on the screen, `lines()` is what stands there now, `everything()` also what scrolled out
above it. The interpreter knows the few sequences that perennial writes and refuses any other. When the window becomes narrower it
breaks the lines that are too long, as most terminals do now, or cuts them (`reflows=False`), as the older ones do.
"""
import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time


class Grid:
    """Rows of text, the last `rows` of which are the screen; a cursor that stands on one of those."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.above = []
        self.screen = [""] * rows
        self.x = self.y = 0
        self.pending = ""

    def feed(self, text):
        text = self.pending + text
        self.pending = ""
        at = 0
        while at < len(text):
            c = text[at]
            if c == "\033":
                found = re.compile(r"\033\[([0-9;]*)([A-Za-z])").match(text, at)
                if not found:
                    if len(text) - at > 16:
                        raise ValueError(f"not a sequence that belongs here: {text[at:at + 16]!r}")
                    self.pending = text[at:]
                    return
                self.control(found.group(1), found.group(2))
                at = found.end()
                continue
            at += 1
            if c == "\n":
                self.down()
            elif c == "\r":
                self.x = 0
            elif c < " " or c == "\x7f":
                raise ValueError(f"control character {c!r}")
            else:
                if self.x >= self.columns:
                    self.x = 0
                    self.down()
                line = self.screen[self.y].ljust(self.x)
                self.screen[self.y] = line[:self.x] + c + line[self.x + 1:]
                self.x += 1

    def down(self):
        if self.y + 1 < self.rows:
            self.y += 1
        else:
            self.above.append(self.screen.pop(0))
            self.screen.append("")

    def control(self, number, letter):
        if letter == "m":
            return
        if letter == "A":
            self.y = max(0, self.y - int(number or 1))
        elif letter == "K" and number in ("", "0"):
            self.screen[self.y] = self.screen[self.y][:self.x]
        elif letter == "J" and number in ("", "0"):
            self.screen[self.y] = self.screen[self.y][:self.x]
            for i in range(self.y + 1, self.rows):
                self.screen[i] = ""
        else:
            raise ValueError(f"sequence ESC [ {number} {letter}")

    def resize(self, columns, rows, reflows):
        """The cursor stays behind the text that it stood behind."""
        lines, at = [], 0
        for i, line in enumerate(self.screen[:self.y + 1]):
            pieces = [line]
            if len(line) > columns:
                pieces = [line[k:k + columns] for k in range(0, len(line), columns)] if reflows else [line[:columns]]
            lines += pieces
            at = len(lines) - 1
        self.columns, self.rows = columns, rows
        cut = max(0, len(lines) - rows)
        self.above += lines[:cut]
        self.screen = lines[cut:] + [""] * (rows - len(lines) + cut)
        self.y = at - cut
        self.x = min(self.x, columns)


class Screen:
    def __init__(self, command, columns=100, rows=24, environment=None):
        self.grid = Grid(columns, rows)
        self.decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self.raw = b""
        self.writes = []  # (time, bytes)
        self.code = None
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            env = dict(os.environ, TERM="xterm-256color", LANG="C.UTF-8")
            env.pop("LC_ALL", None)
            env.pop("NO_COLOR", None)
            env.update(environment or {})
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            try:
                os.execvpe(command[0], command, env)
            finally:
                os._exit(127)
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns, rows, reflows=True):
        self.grid.resize(columns, rows, reflows)
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def feed(self, seconds):
        """Takes in what comes within that time; False at the program's end."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ready, _, _ = select.select([self.file], [], [], max(0, min(0.05, until - time.monotonic())))
            if not ready:
                continue
            try:
                data = os.read(self.file, 65536)
            except OSError:
                data = b""
            if not data:
                _, status = os.waitpid(self.pid, 0)
                self.code = os.waitstatus_to_exitcode(status)
                return False
            self.raw += data
            self.writes.append((time.monotonic(), data))
            self.grid.feed(self.decoder.decode(data))
        return True

    def lines(self):
        return [line.rstrip() for line in self.grid.screen]

    def text(self):
        return "\n".join(self.lines()).rstrip()

    def everything(self):
        """Scrolled lines and the screen."""
        return "\n".join(self.grid.above + self.lines()).rstrip()

    def shows(self, what, seconds=20):
        until = time.monotonic() + seconds
        while what not in self.text():
            alive = self.feed(0.05)
            if what in self.text():
                break
            if not alive or time.monotonic() > until:
                sys.exit(f"the screen does not show {what!r}:\n{self.everything()}")
        return self.text()

    def wait(self, seconds=60):
        until = time.monotonic() + seconds
        while self.code is None:
            if not self.feed(0.2) and self.code is not None:
                break
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                sys.exit(f"it did not end within {seconds} s:\n{self.everything()}")
        return self.code

    def kill(self, number):
        os.kill(self.pid, number)
