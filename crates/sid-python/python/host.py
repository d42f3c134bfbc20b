# The host: loads the module, does what is asked once, answers over the private channel, and ends.
import inspect
import json
import os
import sys
import traceback


def serve(channel, read):
    def send(message):
        data = json.dumps(message, allow_nan=False).encode("utf-8")
        data = len(data).to_bytes(4, "big") + data
        while data:
            data = data[os.write(channel, data) :]

    send({"ready": True})
    job = json.loads(read(int.from_bytes(read(4), "big")))
    # Given back when memory has run out: saying so needs some.
    reserve = bytearray(4 << 20)
    try:
        answer = _do(job)
        text = json.dumps(answer, allow_nan=False)
        if len(text) > job["result_limit"]:
            answer = _problem("result", "the result has %d bytes of JSON; at most %d are taken" % (len(text), job["result_limit"]))
    except BaseException as error:
        del reserve
        answer = _raised(error, job)
        error = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    try:
        send(answer)
    finally:
        # Whatever the module left running ends here.
        os._exit(0)


def _problem(kind, message):
    return {"error": {"kind": kind, "message": message}}


def _do(job):
    import sid

    sid._secrets = job.get("secrets", {})
    sys.path.extend(job["paths"])
    loaded = _load(job)
    if isinstance(loaded, dict):
        return loaded
    import sid_describe

    if job["do"] == "describe":
        tools, problems = sid_describe.module(loaded)
        return {"tools": tools, "problems": problems}
    return _call(loaded, job, sid_describe)


def _load(job):
    name, source = job["module"], job["source"]
    module = type(sys)(name)
    module.__file__ = name + ".py"
    sys.modules[name] = module
    lines = source.splitlines(keepends=True)
    import linecache

    linecache.cache[module.__file__] = (len(source), None, lines, module.__file__)
    try:
        exec(compile(source, module.__file__, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        answer = _raised(error, job)
        answer["error"]["kind"] = "module"
        return answer
    return module


def _call(loaded, job, sid_describe):
    import sid_convert

    function = dict(sid_describe.functions(loaded)).get(job["function"])
    if function is None:
        return _problem("missing", "the module has no function `%s`" % job["function"])
    annotated = sid_describe.hints(function)
    given, positional = dict(job["arguments"]), []
    parameters = inspect.signature(function).parameters
    try:
        for name in list(given):
            if name not in parameters:
                raise sid_convert.Mismatch("there is no argument `%s`" % name)
            given[name] = sid_convert.argument(given[name], annotated.get(name, object), "`%s`" % name)
    except sid_convert.Mismatch as problem:
        return _problem("arguments", str(problem))
    for name, parameter in parameters.items():
        if parameter.kind is parameter.POSITIONAL_ONLY and name in given:
            positional.append(given.pop(name))
        if parameter.default is parameter.empty and name not in job["arguments"]:
            return _problem("arguments", "the argument `%s` is missing" % name)
    value = getattr(loaded, job["function"])(*positional, **given)
    if inspect.isawaitable(value):
        import asyncio

        async def wait(awaited=value):
            return await awaited

        value = asyncio.run(wait())
    try:
        return {"value": sid_convert.result(value)}
    except sid_convert.Unsendable as problem:
        return _problem("result", str(problem))


def _raised(error, job):
    """What was raised, in the words of the module: no line of Sid's own, no path of the host."""
    try:
        message = str(error)[:2000]
    except BaseException:
        message = "(its message cannot be shown)"
    own = job["module"] + ".py"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    trace = [{"line": f.lineno, "in": f.name, "code": (f.line or "")[:200]} for f in frames[-3:]]
    if isinstance(error, SyntaxError) and error.filename == own:
        message = error.msg
        trace = [{"line": error.lineno or 1, "in": "<module>", "code": (error.text or "").strip()[:200]}]
    notes = [str(n)[:500] for n in getattr(error, "__notes__", [])[:3]]
    kind = type(error).__name__
    refused = isinstance(error, PermissionError) or isinstance(error, OSError) and error.errno in (1, 13)
    return {"error": {"kind": "raised", "type": kind, "message": "\n".join([message] + notes), "trace": trace, "refused": refused}}
