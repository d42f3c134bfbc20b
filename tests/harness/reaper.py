"""Ends what a test started and removes what it made, even when the test itself is killed.

A helper process holds the reading end of a pipe. When this process is gone, however it went, the pipe closes and the helper cleans up.
"""
import os, shutil, signal, subprocess, sys, threading

_pipe, _lock = None, threading.Lock()


def _tell(line):
    global _pipe
    with _lock:
        if _pipe is None:
            helper = subprocess.Popen([sys.executable, os.path.abspath(__file__)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
            _pipe = helper.stdin
        _pipe.write(line.encode() + b"\n")
        _pipe.flush()


def watch(pid):
    _tell(f"+pid {pid}")


def forget(pid):
    _tell(f"-pid {pid}")


def remove_later(folder):
    _tell(f"+dir {folder}")


def main():
    held = {"pid": [], "dir": []}
    for line in sys.stdin:
        sign, value = line[0], line[5:].rstrip("\n")
        (held[line[1:4]].append if sign == "+" else held[line[1:4]].remove)(value)
    for pid in held["pid"]:
        try:
            os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass
    for folder in held["dir"]:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
