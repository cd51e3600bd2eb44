"""The same work with LangChain: a token for handlers that do nothing. Prints the same JSON as `benches/peers`. `report --with-langchain` runs it."""

import argparse
import asyncio
import gc
import json
import statistics
import time
import uuid

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.callbacks.manager import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun

SLICES = 15


class Sync(BaseCallbackHandler):
    def on_llm_new_token(self, token, **kwargs):
        pass


class Async(AsyncCallbackHandler):
    async def on_llm_new_token(self, token, **kwargs):
        pass


def a_run_of(manager, handlers):
    return manager(run_id=uuid.uuid4(), handlers=handlers, inheritable_handlers=handlers)


def sync_slice(handlers, events):
    run = a_run_of(CallbackManagerForLLMRun, handlers)
    begun = time.perf_counter_ns()
    for _ in range(events):
        run.on_llm_new_token("token")
    return (time.perf_counter_ns() - begun) / events


def async_slice(handlers, events):
    async def stream():
        run = a_run_of(AsyncCallbackManagerForLLMRun, handlers)
        begun = time.perf_counter_ns()
        for _ in range(events):
            await run.on_llm_new_token("token")
        return (time.perf_counter_ns() - begun) / events

    return asyncio.run(stream())


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true")
    events = 200 if arguments.parse_args().quick else 2_000
    works = [("a token", async_slice, Async, handlers) for handlers in (1, 4, 16)]
    works += [("a token, sync handlers", sync_slice, Sync, handlers) for handlers in (1, 4, 16)]
    measured = [[] for _ in works]
    for work in works:
        work[1]([work[2]() for _ in range(work[3])], events)
    for _ in range(SLICES):
        for (_, measure, handler, handlers), slices in zip(works, measured):
            gc.collect()
            slices.append(measure([handler() for _ in range(handlers)], events))
    rows = []
    for (name, _, _, handlers), slices in zip(works, measured):
        low, median, high = statistics.quantiles(slices, n=4, method="inclusive")
        ns = {"median": median, "low": low, "high": high, "slices": SLICES}
        rows.append({"name": name, "peer": "langchain", "handlers": handlers, "ns": ns})
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
