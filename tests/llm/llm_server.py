#!/usr/bin/env python3
"""llama.cpp's own HTTP server over one model file: llm_server.py MODEL.gguf PORT CONTEXT

Needs the Python package `xllamacpp` on the module path (`cargo xtask setup llm`). Prints its address when it listens; `/health` answers
503 until the model is loaded. It ends when the process that started it ends.
"""
import os, sys, time

import xllamacpp


def main(model, port, context):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_ctx = int(context)
    params.n_parallel = 1
    params.use_jinja = True
    # One thread: with two on two busy cores the spin barriers make it four times slower.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    # Without this a model of this size soon says one sentence for ever. Requests may say otherwise.
    params.sampling.penalty_repeat = 1.1
    params.sampling.penalty_last_n = 256
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
