"""Waiting for what comes by itself: the one way in which the suites do it."""
import time


def until(what, holds, limit_s=180, every_s=0.05, not_yet=(), hopeless=lambda: False):
    """Waits until `holds()` gives something true, and gives that.

    `what` is awaited, in words, or a function that tells more then; it is called only when the wait was in vain, which is an AssertionError. The limit is
    there for what never comes, not for what comes late, so it is generous: a test that is right does not fail on a slow machine. Exceptions of the types
    `not_yet` are no answer yet; all others end the wait. So does `hopeless()`, when nothing can come any more: a process has ended, say. After either end
    `holds` is asked once more.
    """
    end = time.monotonic() + limit_s
    while True:
        is_late, is_hopeless, reason = time.monotonic() >= end, hopeless(), None
        try:
            if found := holds():
                return found
        except not_yet as e:
            reason = e
        if is_late or is_hopeless:
            why = "it cannot come any more" if is_hopeless else f"not within {limit_s} s"
            raise AssertionError(f"{why}: {what() if callable(what) else what}") from reason
        time.sleep(every_s)
