#!/usr/bin/env python3
"""Runs a command while the real small model is there: with_model.py COMMAND ARGUMENT...   (SID_LLM_URL and SID_LLM_MODEL are set)"""
import os, pathlib, subprocess, sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness.llm import SmolLM2                                      # noqa: E402

with SmolLM2(context=2048) as llm:
    sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, "SID_LLM_URL": llm.url, "SID_LLM_MODEL": "smollm2"}).returncode)
