#!/usr/bin/env python3
"""Fails if a file of core imports from a higher layer than its own, or if a file is too long.

usage: .ci/layers.py core/src
"""
import os
import re
import sys

LAYERS = ["util", "model", "runtime", "handler", "queue", "dispatch", "run", "manager", "ext"]
MOST_LINES = 400  # of a file, without unit tests. A file `tests.rs` has only unit tests

root = sys.argv[1]
wrong, lines_of_core, lines_of_code = [], 0, 0
for folder, _, files in os.walk(root):
    for name in files:
        if not name.endswith(".rs") or name == "tests.rs":
            continue
        path = os.path.relpath(os.path.join(folder, name), root)
        text = open(os.path.join(folder, name), encoding="utf-8").read()
        text = re.split(r"#\[cfg\((?:all\()?test\b.*\]\nmod tests \{", text)[0]
        lines = text.splitlines()
        code = [line for line in lines if line.strip() and not line.strip().startswith("//")]
        lines_of_core += len(lines)
        lines_of_code += len(code)
        if len(lines) > MOST_LINES:
            wrong.append(f"{path} has {len(lines)} lines, and may have {MOST_LINES}")
        own = path.split(os.sep)[0].removesuffix(".rs")
        if own not in LAYERS:
            continue
        text = re.sub(r"//[^\n]*", "", text)
        others = set(re.findall(r"\bcrate::(\w+)", text))
        for group in re.findall(r"\bcrate::\{([^;]*?)\};", text, re.S):
            others |= set(re.findall(r"(?:^|,)\s*(\w+)", group))
        for other in sorted(others):
            if other in LAYERS and LAYERS.index(other) > LAYERS.index(own):
                wrong.append(f"{path} imports {other}")
print("\n".join(sorted(wrong)) or f"one way; {lines_of_core} lines, {lines_of_code} of code")
sys.exit(bool(wrong))
