"""The suites of a folder, several at a time: most of a test is waiting for a server, a model or a clock.

    PYTHONPATH=tests python3 -m harness.beside tests/blackbox

Each suite is a `python3 -m unittest` of its own; what it printed is shown when it has ended. `SID_SUITES_AT_ONCE`: how many, one more than
there are cores unless it is set.
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time


def run(suite):
    start = time.monotonic()
    discover = ["discover", "--verbose", "--start-directory", str(suite.parent), "--top-level-directory", str(suite.parent), "--pattern", suite.name]
    command = [sys.executable, "-W", "ignore::ResourceWarning", "-m", "unittest", *discover]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return suite, ended, time.monotonic() - start


def main(folder):
    at_once = int(os.environ.get("SID_SUITES_AT_ONCE") or (os.cpu_count() or 1) + 1)
    # The longest first, so that the last one does not end alone.
    suites = sorted(pathlib.Path(folder).glob("test_*.py"), key=lambda suite: -suite.stat().st_size)
    if not suites:
        sys.exit(f"{folder} has no suites: expected files called test_*.py")
    failed = []
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for running in concurrent.futures.as_completed([pool.submit(run, suite) for suite in suites]):
            suite, ended, took = running.result()
            print(f"{suite}, {took:.0f} s:\n{ended.stdout}", flush=True)
            if ended.returncode:
                failed.append(str(suite))
    if failed:
        sys.exit(f"failed: {', '.join(sorted(failed))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
