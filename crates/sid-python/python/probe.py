# Asked once, outside of the sandbox and without any module of a user: where this Python lives, and Sid's own part in its byte code.
import json
import marshal
import os
import sys
import sysconfig


def probe(sources):
    compiled = [(name, compile(text, "<" + name + ">", "exec")) for name, text in sources]
    variables = sysconfig.get_config_vars()
    print(
        json.dumps(
            {
                "version": ".".join(map(str, sys.version_info[:3])),
                "executable": os.path.realpath(sys.executable),
                "stdlib": sorted({os.path.realpath(sysconfig.get_path(p)) for p in ("stdlib", "platstdlib")}),
                "libpython": os.path.realpath(variables["LIBDIR"]) if variables.get("Py_ENABLE_SHARED") and variables.get("LIBDIR") else None,
                "host": marshal.dumps(compiled).hex(),
            }
        )
    )


if sys.version_info < (3, 9):
    sys.exit("Python 3.9 or newer is needed; this is " + sys.version.split()[0])
probe(json.load(sys.stdin))
