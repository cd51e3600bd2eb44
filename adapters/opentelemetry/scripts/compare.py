#!/usr/bin/env python3
"""Compares the spans that a collector has printed with those that it should have received.

usage: compare.py EXPECTED LOG...

Each line of EXPECTED is a span: trace, span, parent, start, end, name. The logs are those of rotel with
`--debug-log traces --debug-log-verbosity detailed`.
"""
import re
import sys

FIELDS = {
    "Trace ID       ": 0, "ID             ": 1, "Parent ID      ": 2,
    "Start time": 3, "End time": 4, "Name           ": 5,
}


def spans_of(log):
    span = None
    for line in open(log, encoding="utf-8", errors="replace"):
        if line.startswith("Span #"):
            if span:
                yield tuple(span)
            span = [""] * 6
        elif span and (found := re.match(r"\s*([^:]+): ?(.*)\n", line)) and found[1] in FIELDS:
            span[FIELDS[found[1]]] = found[2] or ("-" if found[1].startswith("Parent") else "")
    if span:
        yield tuple(span)


expected = {tuple(line.rstrip("\n").split(" ", 5)) for line in open(sys.argv[1], encoding="utf-8")}
received = [span for log in sys.argv[2:] for span in spans_of(log)]
missing, strange = expected - set(received), set(received) - expected
print(f"{len(expected)} spans expected, {len(received)} received, {len(received) - len(set(received))} "
      f"twice, {len(missing)} missing, {len(strange)} not expected")
for span in list(missing)[:3]:
    print("missing:", *span)
for span in list(strange)[:3]:
    print("not expected:", *span)
sys.exit(bool(missing or strange or len(received) != len(expected)))
