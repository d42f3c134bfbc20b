# The module `sid` that functions may import: nothing has to be installed for it.
"""What a module of tools may say about its functions."""

_secrets = {}


def tool(function=None, *, name=None, read=False, idempotent=False, timeout=None, hosts=(), secrets=()):
    """Marks a function as a tool, and says what it touches.

    Args:
        name: What the model calls it; the function's own name without it.
        read: It only reads.
        idempotent: A second call with the same arguments changes nothing more.
        timeout: Seconds that one call may take; never more than what the module was given.
        hosts: Hosts that it talks to.
        secrets: Names of the secrets that it asks for with `secret`.
    """

    def mark(function):
        function.__sid_tool__ = {
            "name": name,
            "read": bool(read),
            "idempotent": bool(idempotent),
            "timeout": timeout,
            "hosts": list(hosts),
            "secrets": list(secrets),
        }
        return function

    return mark if function is None else mark(function)


def secret(name):
    """The value of a secret that the tool declared and was given."""
    try:
        return _secrets[name]
    except KeyError:
        raise LookupError("the secret `%s` was not given to this function: declare it with @tool(secrets=[%r])" % (name, name)) from None
