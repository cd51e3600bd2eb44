#!/usr/bin/env python3
"""Writes the cases of this directory. Each group of README.md is a kind of answer; a case whose name
ends in `-alike` is a right answer that looks like the kind and must not be changed."""
import gzip
import json
import pathlib
import shutil
import zlib

CASES = pathlib.Path(__file__).parent / "cases"
BASE = {"id": "c-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m-1"}


def chunk(delta=None, finish=None, choice=None, **fields):
    """A chunk of one choice."""
    return {**BASE, "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish, **(choice or {})}], **fields}


def text(content):
    return chunk({"content": content})


def call(index=None, id=None, name=None, arguments=None, **fields):
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not None}
    piece = {**({} if index is None else {"index": index}), **({} if id is None else {"id": id}), "type": "function", "function": function}
    return chunk({"tool_calls": [{**piece, **fields}]})


STOP = chunk(finish="stop")
CALLED = chunk(finish="tool_calls")
USAGE = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}


def event(data, name=None):
    data = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "") + f"data: {data}\n\n"


def events(*parts, done=True):
    return "".join(part if isinstance(part, str) else event(part) for part in parts) + ("data: [DONE]\n\n" if done else "")


def whole(message, finish="stop", **fields):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps({**BASE, "object": "chat.completion", "choices": [choice], "usage": USAGE, **fields})


STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"


def case(name, body, want, right, *, type=STREAM, mode="stream", after="close", framing="chunked", headers=(), status="200 OK", cut=False):
    """framing: chunked, length, none (the body ends with the connection), or a wrong length by that many bytes.
    cut: the last HTTP chunk is missing."""
    body = body if isinstance(body, bytes) else body.encode()
    head = [f"HTTP/1.1 {status}", *([f"content-type: {type}"] if type else []), *headers]
    if framing == "chunked":
        head.append("transfer-encoding: chunked")
        pieces = [body[i:i + 64] for i in range(0, len(body), 64)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + (b"" if cut else b"0\r\n\r\n")
    elif framing == "length":
        head.append(f"content-length: {len(body)}")
    elif framing == "none":
        head.append("connection: close")
    else:
        head.append(f"content-length: {len(body) + framing}")
    (CASES / f"{name}.http").write_bytes("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    expectation = f"# {name}\n\nright: {right}\n\nmode: {mode}\nafter: {after}\nretries: 0\nwant: {json.dumps(want)}\n"
    (CASES / f"{name}.expect.md").write_text(expectation)


def calls(name, pieces, want, right, finish=CALLED):
    case(name, events(*pieces, finish), {"tools": want, "error": "none"}, right)


shutil.rmtree(CASES, ignore_errors=True)
CASES.mkdir()

# Tool calls.
calls("a01-name-after-all-arguments", [call(0, "c1", None, '{"a":'), call(0, None, None, "1}"), call(0, None, "add", "")],
      [["c1", "add", '{"a":1}']], "one call")
calls("a02-null-name-then-name-without-id", [call(0, None, "", '{"a":1}'), call(0, "c1", "add")],
      [["c1", "add", '{"a":1}']], "one call")
calls("a03-late-names-of-two-calls", [call(0, "c1", None, '{"a"'), call(1, "c2", None, "{"), call(0, None, "add", ":1}"), call(1, None, "now", "}")],
      [["c1", "add", '{"a":1}'], ["c2", "now", "{}"]], "two calls")
calls("a04-name-in-pieces-alike", [call(0, "c1", "get_", ""), call(0, None, "weather", ""), call(0, None, None, "{}")],
      [["c1", "get_weather", "{}"]], "one call, whose name is in two pieces")
calls("a05-new-id-and-name-each-piece", [call(0, "r0", "f", ""), call(0, "r1", "f", '{"k"'), call(0, "r2", "f", ":1}"), call(0, "r3", None, "")],
      [["r0", "f", '{"k":1}']], "one call with the first id")
calls("a06-new-id-without-index", [call(None, "r0", "f", '{"k"'), call(None, "r1", None, ":1"), call(None, "r2", None, "}")],
      [["r0", "f", '{"k":1}']], "one call with the first id")
calls("a07-new-id-second-call", [call(0, "r0", "f", '{"k"'), call(0, "r1", None, ":1}"), call(1, "r2", "g", "{"), call(1, "r3", None, "}")],
      [["r0", "f", '{"k":1}'], ["r2", "g", "{}"]], "two calls, each with its first id")
calls("a08-two-real-calls-alike", [call(0, "c1", "f", '{"k":1}'), call(0, "c2", "f", '{"k":1}')],
      [["c1", "f", '{"k":1}'], ["c2", "f", '{"k":1}']], "two calls that are the same but for their ids")
calls("a09-two-whole-without-ids", [call(0, None, "f", '{"k":1}'), call(0, None, "f", '{"k":2}')],
      [[None, "f", '{"k":1}'], [None, "f", '{"k":2}']], "two calls")
calls("a10-two-split-without-ids", [call(0, None, "f", '{"k"'), call(0, None, None, ":1}"), call(0, None, "g", ""), call(0, None, None, "{}")],
      [[None, "f", '{"k":1}'], [None, "g", "{}"]], "two calls")
calls("a11-three-whole-with-nested-objects", [call(0, "c1", "f", '{"a":{"b":"}"}}'), call(0, "c2", "g", "{}"), call(0, "c3", "h", '{"c":[{}]}')],
      [["c1", "f", '{"a":{"b":"}"}}'], ["c2", "g", "{}"], ["c3", "h", '{"c":[{}]}']], "three calls")
calls("a12-object-inside-arguments-alike", [call(0, "c1", "f", '{"a":'), call(0, None, None, '{"b":1}'), call(0, None, None, "}")],
      [["c1", "f", '{"a":{"b":1}}']], "one call: the second piece begins an object within the first")
calls("a13-no-index-two-in-one-list",
      [chunk({"tool_calls": [{"id": "c1", "function": {"name": "a", "arguments": "{}"}}, {"id": "c2", "function": {"name": "b", "arguments": ""}}]}),
       call(None, None, None, '{"y":2}')],
      [["c1", "a", "{}"], ["c2", "b", '{"y":2}']], "two calls; the last piece belongs to the open one")
calls("a14-no-index-no-ids", [call(None, None, "a", '{"x":1}'), call(None, None, "b", '{"y"'), call(None, None, None, ":2}")],
      [[None, "a", '{"x":1}'], [None, "b", '{"y":2}']], "two calls")
calls("a15-no-index-interleaved-ids-alike", [call(None, "c1", "a", ""), call(None, "c2", "b", ""), call(None, "c1", None, "{}"), call(None, "c2", None, '{"y":2}')],
      [["c1", "a", "{}"], ["c2", "b", '{"y":2}']], "two calls, whose pieces take turns")
calls("a16-index-from-one-two-calls", [call(1, "c1", "a", "{"), call(1, None, None, "}"), call(2, "c2", "b", "{}")],
      [["c1", "a", "{}"], ["c2", "b", "{}"]], "two calls, and no empty one")
calls("a17-index-from-seven-as-text", [call("7", "c1", "a", "{"), call("7", None, None, "}")],
      [["c1", "a", "{}"]], "one call")
calls("a18-index-grows-with-each-piece", [call(0, "c1", "a", '{"x"'), call(1, None, None, ":1"), call(2, None, None, "}")],
      [["c1", "a", '{"x":1}']], "one call")
calls("a19-indices-take-turns-alike", [call(0, "c1", "a", "{"), call(1, "c2", "b", "{"), call(0, None, None, "}"), call(1, None, None, "}")],
      [["c1", "a", "{}"], ["c2", "b", "{}"]], "two calls at the same time")
calls("a20-one-id-three-calls", [call(0, "null", "a", "{}"), call(1, "null", "a", '{"x":1}'), call(2, "null", "b", "{}")],
      [["null", "a", "{}"], ["null", "a", '{"x":1}'], ["null", "b", "{}"]], "three calls")
calls("a21-one-id-under-one-index", [call(0, "abc", "a", '{"x":1}'), call(0, "abc", "a", '{"x":2}')],
      [["abc", "a", '{"x":1}'], ["abc", "a", '{"x":2}']], "two calls")
calls("a22-one-id-without-index", [call(None, "abc", "a", "{}"), call(None, "abc", "b", '{"x":'), call(None, "abc", None, "1}")],
      [["abc", "a", "{}"], ["abc", "b", '{"x":1}']], "two calls")
calls("a23-id-and-name-repeated-alike", [call(0, "c1", "a", "{"), call(0, "c1", "a", '"x":1'), call(0, "c1", "a", "}"), call(0, "c1", "a", "")],
      [["c1", "a", '{"x":1}']], "one call, whose id and name come with each piece")
calls("a24-whole-call-again-alike", [call(0, "c1", "a", '{"x"'), call(0, None, None, ":1}"), call(0, "c1", "a", '{"x":1}')],
      [["c1", "a", '{"x":1}']], "one call, which the last chunk has once more")
calls("a25-blanks-after-arguments-alike", [call(0, "c1", "a", '{"x":1}'), call(0, "", "", "\n"), call(0, None, None, "")],
      [["c1", "a", '{"x":1}\n']], "one call")
calls("a26-no-arguments-twice", [call(0, "c1", "now", ""), call(0, "c2", "now", "")],
      [["c1", "now", ""], ["c2", "now", ""]], "two calls without arguments")
calls("a27-list-of-one-as-object", [chunk({"tool_calls": {"index": 0, "id": "c1", "function": {"name": "a", "arguments": {"x": 1}}}})],
      [["c1", "a", '{"x":1}']], "one call")

# JSON as it is met.
case("b01-finish-twice", 'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null,"finish_reason":"stop"}]}\n\n',
     {"text": "Hi", "finish": "stop", "error": "none"}, "the last value")
case("b02-usage-key-twice", events(text("Hi"), 'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"prompt_tokens":3,"completion_tokens":1}}\n\n'),
     {"usage": [3, 1, 4], "error": "none"}, "the last value, also deep inside")
case("b03-whole-key-twice", '{"choices":[{"message":{"content":"no","content":"Hi"},"finish_reason":"stop"}],"choices":[{"message":{"content":"no","content":"Hi"},"finish_reason":"stop"}]}',
     {"text": "Hi", "gens": 1, "error": "none"}, "the last value", type=JSON, mode="whole", framing="length")
case("b04-same-key-in-two-objects-alike", events(chunk({"content": "Hi"}, choice={"x": {"a": 1}, "y": {"a": 2}}), STOP),
     {"gens/0/extra/x/a": 1, "gens/0/extra/y/a": 2, "error": "none"}, "both: they are two objects")
case("b05-nan-in-usage", events(text("Hi"), STOP, 'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"cost":NaN,"rate":-Infinity}}\n\n'),
     {"text": "Hi", "usage": [3, 1, 4], "error": "none"}, "text and usage")
case("b06-infinity-in-whole", '{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop","score":Infinity}],"time":NaN}',
     {"text": "Hi", "error": "none"}, "the text", type=JSON, mode="whole", framing="length")
case("b07-nan-and-key-twice", 'data: {"choices":[{"delta":{"content":"no","content":"Hi"},"score":NaN,"finish_reason":"stop"}]}\n\n',
     {"text": "Hi", "error": "none"}, "the last text")
case("b08-nan-in-text-alike", events(text("NaN, -Infinity: \"NaN\" \\u00ff"), STOP),
     {"text": "NaN, -Infinity: \"NaN\" \\u00ff", "error": "none"}, "the text as it is")
case("b09-bad-bytes-in-whole", b'{"choices":[{"message":{"content":"a\xff\xfeb"},"finish_reason":"stop"}]}',
     {"text": "a��b", "error": "none"}, "each byte replaced", type=JSON, mode="whole", framing="length")
case("b10-half-a-character", b'data: {"choices":[{"delta":{"content":"a\xe2\x82"}}]}\n\ndata: {"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}\n\n',
     {"text": "a�b", "error": "none"}, "one replacement for the half character")
case("b11-bad-byte-in-comment", b': \xff\n\n' + events(text("Hi"), STOP).encode(), {"text": "Hi", "error": "none"}, "the comment says nothing")
case("b13-numbers-as-text", events(chunk({"content": "Hi"}, choice={"index": "0"}), chunk(finish="stop", usage={"prompt_tokens": "3", "completion_tokens": "1.0", "total_tokens": " 4 "})),
     {"text": "Hi", "gens": 1, "usage": [3, 1, 4], "error": "none"}, "numbers")
case("b14-text-of-digits-alike", events(text("42"), STOP), {"text": "42", "error": "none"}, "a text")
case("b15-blank-lines-around-whole", "\n\n  \r\n\n" + whole({"content": "Hi"}) + "\n\n \n", {"text": "Hi", "usage": [3, 1, 4], "error": "none"},
     "the answer", type=JSON, mode="whole")
case("b16-comments-before-whole", ": PROCESSING\n\n: PROCESSING\n\n" + whole({"content": "Hi"}), {"text": "Hi", "error": "none"},
     "the answer", type=JSON, mode="whole")
case("b17-blanks-around-events", "\n\n\n" + events(text("Hi"), "\n\n", STOP) + "\n\n", {"text": "Hi", "error": "none"}, "the answer")
case("b18-line-break-in-a-string", 'data: {"choices":[{"delta":{"content":"a\tb"},"finish_reason":"stop"}]}\n\n', {"text": "a\tb", "error": "none"},
     "a control character that is not escaped is kept")

# Lists and texts of each chunk.
case("c01-repeated-lists", events(*[chunk({"content": "ha", "bytes": [104, 97]}) for _ in range(3)], STOP),
     {"text": "hahaha", "gens/0/extra/bytes": [104, 97] * 3, "error": "none"}, "all of them")
case("c02-repeated-texts", events(*[chunk({"content": "", "thinking_text": t}) for t in ("ha", "ha", "!")], STOP),
     {"gens/0/extra/thinking_text": "haha!", "error": "none"}, "joined with their repeats")
case("c03-old-logprobs", events(*[chunk({"content": t}, choice={"logprobs": {"tokens": [t], "token_logprobs": [-0.5]}}) for t in ("a", "a", "b")], STOP),
     {"gens/0/extra/logprobs": {"tokens": ["a", "a", "b"], "token_logprobs": [-0.5, -0.5, -0.5]}, "error": "none"}, "all tokens")
case("c04-repeated-logprobs", events(*[chunk({"content": "a"}, choice={"logprobs": {"content": [{"token": "a", "logprob": -0.5}]}}) for _ in range(2)], STOP),
     {"gens/0/logprobs/1/token": "a", "gens/0/logprobs/2": None, "error": "none"}, "two tokens")
case("c05-labels-in-choice-and-delta", events(*[chunk({"content": "a", "agent": "A"}, choice={"provider": "P", "content_type": "md"}) for _ in range(3)], STOP),
     {"gens/0/extra/agent": "A", "gens/0/extra/provider": "P", "gens/0/extra/content_type": "md", "error": "none"}, "each label once")
case("c06-repeated-words-alike", events(text("no "), text("no "), text("no"), STOP), {"text": "no no no", "error": "none"}, "the text with its repeats")
case("c07-empty-id-and-time-at-last", events(text("Hi"), STOP, {"id": "", "created": 0, "model": "", "system_fingerprint": "", "choices": [], "usage": USAGE}),
     {"llm_output/id": "c-1", "llm_output/created": 1700000000, "model": "m-1", "usage": [3, 1, 4], "error": "none"}, "id and time of before")
case("c08-null-id-at-last", events(text("Hi"), STOP, {"id": None, "created": None, "choices": [], "usage": USAGE}),
     {"llm_output/id": "c-1", "llm_output/created": 1700000000, "error": "none"}, "id and time of before")
case("c09-id-changes-alike", events(text("Hi"), {**STOP, "id": "c-2"}), {"llm_output/id": "c-2", "error": "none"}, "the last id that is one")

# Content types, whole and stream confused.
HI = events(text("Hi"), chunk(finish="stop", usage=USAGE))
for number, kind in (("01", "text/plain"), ("02", None), ("03", "application/json; charset=utf-8"), ("04", "text/event-stream, application/json"), ("05", "application/x-ndjson")):
    case(f"d{number}-stream-under-{(kind or 'none').split(';')[0].replace('/', '-').replace(', ', '-and-')}", HI, {"text": "Hi", "usage": [3, 1, 4], "error": "none"}, "the stream", type=kind)
case("d06-html-alike", "<html>Welcome</html>", {"error": "ContentType & text/html"}, "an error that names the type", type="text/html")
case("d07-whole-as-event-stream", whole({"content": "Hi"}), {"text": "Hi", "usage": [3, 1, 4], "error": "none"}, "the answer")
case("d08-whole-and-done", whole({"content": "Hi"}) + "\n\ndata: [DONE]\n\n", {"text": "Hi", "finish": "stop", "error": "none"}, "the answer")
case("d09-whole-with-line-breaks", json.dumps(json.loads(whole({"content": "Hi"})), indent=2) + "\n", {"text": "Hi", "error": "none"}, "the answer", type=JSON)
case("d10-whole-calls-to-stream", whole({"content": None, "tool_calls": [{"id": "x", "function": {"name": n, "arguments": "{}"}} for n in "ab"]}, "tool_calls"),
     {"tools": [["x", "a", "{}"], ["x", "b", "{}"]], "finish": "tool_calls", "error": "none"}, "both calls", type=JSON, framing="length")
case("d11-whole-in-an-event", event(whole({"content": "Hi"})) + "data: [DONE]\n\n", {"text": "Hi", "usage": [3, 1, 4], "error": "none"}, "the answer")
case("d12-objects-in-lines", "".join(json.dumps(c) + "\n" for c in (text("He"), text("llo"), STOP)), {"text": "Hello", "finish": "stop", "error": "none"}, "the text", type="application/x-ndjson")
case("d13-stream-to-whole-as-json", HI, {"text": "Hi", "usage": [3, 1, 4], "error": "none"}, "the text", type=JSON, mode="whole")
case("d14-stream-with-calls-to-whole", events(call(0, "c1", "a", "{"), call(0, None, None, "}"), CALLED), {"tools": [["c1", "a", "{}"]], "error": "none"}, "the call", mode="whole")
case("d15-stream-to-whole-without-done", events(text("He"), text("llo"), STOP, done=False), {"text": "Hello", "finish": "stop", "error": "none"}, "the text", mode="whole", type=None)
case("d16-data-in-text-of-whole-alike", whole({"content": "data: {\"choices\":[]}\n\ndata: [DONE]"}), {"text": "data: {\"choices\":[]}\n\ndata: [DONE]", "error": "none"},
     "the text, which looks like events", type=JSON, mode="whole", framing="length")

# Complete answers.
case("e01-whole-without-last-chunk", whole({"content": "Hi"}), {"text": "Hi", "usage": [3, 1, 4], "error": "none"}, "complete", type=JSON, mode="whole", cut=True)
case("e02-finish-then-reset", events(text("Hi"), STOP, done=False), {"text": "Hi", "finish": "stop", "error": "none"}, "complete", after="reset", cut=True)
case("e03-reset-within-usage", events(text("Hi"), STOP, done=False) + 'data: {"choices":[],"usage":{"prompt', {"text": "Hi", "finish": "stop", "error": "none"}, "complete, without usage", after="reset", cut=True)
case("e04-usage-then-stall", events(text("Hi"), STOP, {**BASE, "choices": [], "usage": USAGE}, done=False), {"text": "Hi", "usage": [3, 1, 4], "error": "none"}, "complete", after="stall", cut=True)
case("e05-two-choices-then-stall", events({"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]},
     {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, done=False), {"gens": 2, "text": "a", "error": "none"}, "complete", after="stall", cut=True)
case("e06-one-of-two-choices-alike", events({"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]},
     {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}, done=False), {"text": "a", "error": "TimedOut"}, "an error: one choice has no finish reason", after="stall", cut=True)
case("e07-no-finish-reason-alike", events(text("Hi"), done=False), {"text": "Hi", "error": "Cut"}, "an error: the answer may go on", cut=True)
case("e08-event-without-line-break-then-cut", events(text("Hi"), done=False) + "data: " + json.dumps(STOP), {"text": "Hi", "finish": "stop", "error": "none"}, "complete: the last event is whole", cut=True)
case("e09-whole-then-stall", whole({"content": "Hi"}), {"text": "Hi", "error": "none"}, "complete", type=JSON, mode="whole", after="stall", cut=True)
case("e10-whole-cut-alike", whole({"content": "Hi"})[:-30], {"error": "Cut"}, "an error: the object is open", type=JSON, mode="whole", cut=True)
case("e11-finishReason-then-stall", events(chunk({"content": "Hi"}, choice={"finishReason": "stop"}), done=False), {"text": "Hi", "finish": "stop", "error": "none"}, "complete", after="stall", cut=True)
case("e12-finishReason-beside-null", events(chunk({"content": "H"}, choice={"finishReason": None}), chunk({"content": "i"}, choice={"finishReason": "MAX_TOKENS"})), {"text": "Hi", "finish": "MAX_TOKENS", "error": "none"}, "its own word")
case("e13-both-finish-names-alike", events(chunk({"content": "Hi"}, "length", choice={"finishReason": "stop"})), {"text": "Hi", "finish": "length", "error": "none"}, "OpenAI's name counts first")
case("e14-heartbeats-after-finish", events(text("Hi"), STOP, *[": beat\n\n"] * 20, done=False), {"text": "Hi", "error": "none"}, "complete", after="stall", cut=True)

# The server's words.
def error(name, body, words, right="the server's words", **options):
    case(name, body if isinstance(body, (str, bytes)) else json.dumps(body), {"error": words}, right, type=JSON, framing="length", **options)


error("f01-raw-as-object", {"error": {"message": "Provider returned error", "metadata": {"raw": {"error": {"message": "context too long"}}}}}, "Status & Provider returned error & context too long", status="400 Bad Request")
error("f02-raw-as-text", {"error": {"message": "Provider returned error", "metadata": {"raw": "upstream said no"}}}, "Status & upstream said no", status="502 Bad Gateway")
error("f03-raw-in-event", {"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": "{\"detail\":\"model is warm\"}"}}}, "Reported & model is warm")
error("f04-string-error-and-message", {"error": "Bad Request", "message": "temperature is too high"}, "Status & Bad Request & temperature is too high", status="400 Bad Request")
error("f05-detail-with-loc", {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "not permitted", "type": "enum"}]}, "Status & body.messages.0.role: not permitted", status="422 Unprocessable Entity")
error("f06-detail-as-text", {"detail": "Not authenticated"}, "Reported & Not authenticated", mode="whole")
error("f07-base-resp-in-stream", {"id": "x", "choices": None, "base_resp": {"status_code": 1027, "status_msg": "output is sensitive"}}, "Reported & output is sensitive")
case("f08-base-resp-0-alike", whole({"content": "Hi"}, base_resp={"status_code": 0, "status_msg": ""}), {"text": "Hi", "error": "none"}, "a success", type=JSON, mode="whole", framing="length")
error("f09-code-and-message-200", {"code": "InvalidParameter", "message": "top_p is wrong", "request_id": "r"}, "Reported & top_p is wrong", mode="whole")
case("f10-code-0-and-message-alike", events({"code": 0, "message": "success"}, text("Hi"), STOP), {"text": "Hi", "error": "none"}, "a success: the code is 0")
case("f11-message-event-and-done", events(text("Par"), {"message": "the model has crashed"}), {"text": "Par", "error": "Reported & the model has crashed"}, "an error: the answer is not complete")
case("f12-message-event-in-complete-alike", events(text("Hi"), {"message": "still there"}, STOP), {"text": "Hi", "error": "none"}, "a success: the answer is complete")
error("f13-cloudflare", {"success": False, "errors": [{"code": 7003, "message": "no route"}], "messages": [], "result": None}, "Reported & no route", mode="whole")
error("f14-gzipped-error", gzip.compress(b'{"error":{"message":"quota is over"}}', mtime=0), "Status & quota is over", status="429 Too Many Requests", headers=("content-encoding: gzip",))
error("f15-unknown-form", {"ok": False, "why": "closed on Sundays"}, "Reported & closed on Sundays", mode="whole")
case("f16-error-null-alike", events({**text("Hi"), "error": None}, {**STOP, "error": {"code": 0, "message": ""}}), {"text": "Hi", "error": "none"}, "a success")
case("f17-error-with-text", events({**text("Par"), "error": {"message": "overloaded"}}), {"text": "Par", "error": "Reported & overloaded"}, "the text of the same chunk, and the error")
case("f18-error-event-under-status", event({"error": {"message": "no such model"}}, "error"), {"error": "Status & no such model"}, "the server's words", status="404 Not Found")
case("f19-google-list-in-stream", "[" + json.dumps({"error": {"code": 503, "message": "The model is overloaded", "status": "UNAVAILABLE"}}, indent=2) + "\n]", {"error": "Reported & overloaded"}, "the server's words", type=JSON)

# Usage elsewhere.
case("g01-usage-in-delta", events(text("Hi"), chunk({"usage": USAGE}, "stop")), {"usage": [3, 1, 4], "error": "none"}, "the usage")
case("g02-input-and-output", events(text("Hi"), chunk(finish="stop", usage={"input_tokens": 3, "output_tokens": 1})), {"usage": [3, 1, 4], "error": "none"}, "the usage")
case("g03-in-two-parts", events(chunk({"content": "Hi"}, usage={"prompt_tokens": 3, "completion_tokens": 0}), chunk(finish="stop", usage={"completion_tokens": 1})), {"usage": [3, 1, 4], "error": "none"}, "both parts")
case("g04-choice-usage-beside-null", events(text("Hi"), {**chunk(finish="stop", choice={"usage": USAGE}), "usage": None}), {"usage": [3, 1, 4], "error": "none"}, "the usage")
case("g05-groq-in-first-and-last", events({**text("Hi"), "x_groq": {"id": "r"}}, {**STOP, "x_groq": {"id": "r", "usage": USAGE}}), {"usage": [3, 1, 4], "llm_output/x_groq/id": "r", "error": "none"}, "the usage")
case("g06-zeros-of-a-part", events(chunk({"content": "Hi"}, usage=USAGE), chunk(finish="stop", usage={"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 0})), {"usage": [3, 2, 5], "error": "none"}, "zeros replace nothing")
case("g07-only-zeros-alike", events(text("Hi"), chunk(finish="stop", usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})), {"usage": [0, 0, 0], "error": "none"}, "zeros, if there is nothing else")
case("g08-total-of-its-own-alike", events(text("Hi"), chunk(finish="stop", usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 9})), {"usage": [3, 1, 9], "error": "none"}, "the server's total")
case("g09-whole-choice-usage", json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop", "usage": USAGE}]}), {"usage": [3, 1, 4], "error": "none"}, "the usage", type=JSON, mode="whole", framing="length")

# Events as they are met.
case("h01-comments-as-data", events("data: : ping\n\n", text("Hi"), "data::\n\n", STOP), {"text": "Hi", "error": "none"}, "comments say nothing")
case("h02-colon-in-text-alike", events(text(": Hi"), STOP), {"text": ": Hi", "error": "none"}, "the text")
case("h03-crlf-single", "".join(f"data: {json.dumps(c)}\r\n" for c in (text("He"), text("llo"), STOP)) + "data: [DONE]\r\n", {"text": "Hello", "error": "none"}, "the text")
case("h04-single-and-comments", "".join(f": x\ndata: {json.dumps(c)}\n" for c in (text("He"), text("llo"), STOP)), {"text": "Hello", "error": "none"}, "the text")
case("h05-json-in-two-data-lines-alike", 'data: {"choices":[{"delta":{"content":"Hi"},\ndata: "finish_reason":"stop"}]}\n\ndata: [DONE]\n\n', {"text": "Hi", "error": "none"}, "one event in two lines")
case("h06-json-over-lines-without-data", "data: " + json.dumps(text("Hi"), indent=2) + "\n\n" + event(STOP), {"text": "Hi", "error": "none"}, "the text")
case("h07-quoted-done-in-spaces", events(text("Hi"), STOP, done=False) + 'data:  "[DONE]" \n\n', {"text": "Hi", "error": "none"}, "ends", after="stall", cut=True)
case("h08-done-in-text-alike", events(text("[DONE]"), text("!"), STOP), {"text": "[DONE]!", "error": "none"}, "the text")
case("h09-ping-with-text", events(event("still there", "ping"), text("Hi"), event("2026-11-28", "ping"), STOP), {"text": "Hi", "error": "none"}, "pings say nothing")
case("h10-named-events", events(event(text("Hi"), "message"), event(STOP, "completion")), {"text": "Hi", "finish": "stop", "error": "none"}, "the text")
case("h11-data-twice", events("data: data: " + json.dumps(text("Hi")) + "\n\n", STOP), {"text": "Hi", "error": "none"}, "the text")
case("h12-error-event-alike", events(text("Par"), event("out of memory", "error")), {"text": "Par", "error": "Reported & out of memory"}, "an error")

# Compression.
def packed(name, body, coding, label, want=None, right="the text", **options):
    case(name, body, want or {"text": "Hi", "error": "none"}, right, headers=(f"content-encoding: {label}",) if label else (), **options)


SENT = HI.encode()
raw = zlib.compressobj(wbits=-15)
packed("i01-gzip", gzip.compress(SENT, mtime=0), "gzip", "gzip")
packed("i02-deflate", zlib.compress(SENT), "deflate", "deflate")
packed("i03-deflate-without-header", raw.compress(SENT) + raw.flush(), "deflate", "Deflate")
packed("i04-gzip-in-two-members", gzip.compress(SENT[:100], mtime=0) + gzip.compress(SENT[100:], mtime=0), "gzip", "x-gzip")
packed("i05-whole-gzip", gzip.compress(whole({"content": "Hi"}).encode(), mtime=0), "gzip", "gzip", type=JSON, mode="whole", framing="length")
packed("i06-identity-alike", SENT, "", "identity")
packed("i07-unlabelled", gzip.compress(SENT, mtime=0), "gzip", None, {"error": "NotUtf8 & compressed"}, "a typed error")
packed("i08-brotli", b"\x8b\x02\x80abc\x03", "br", "br", {"error": "Encoded & br"}, "a typed error")
packed("i09-label-without-compression", SENT, "gzip", "gzip", {"error": "Encoded & gzip"}, "a typed error")
packed("i10-gzip-cut-after-finish", gzip.compress(SENT, mtime=0)[:-9], "gzip", "gzip", cut=True)
case("b12-characters-across-packets-alike", 'data: {"choices":[{"delta":{"content":"é€😀é€😀é€😀"},"finish_reason":"stop"}]}\n\n',
     {"text": "é€😀é€😀é€😀", "error": "none"}, "all characters, also those that two packets share")

# More of the same kinds.
case("h13-json-in-a-text", events("data: " + json.dumps(json.dumps(text("Hi"))) + "\n\n", STOP), {"text": "Hi", "error": "none"}, "the text")
case("h14-json-in-a-list", events("data: [" + json.dumps(text("Hi")) + "]\n\n", STOP), {"text": "Hi", "error": "none"}, "the text")
case("h15-json-text-as-content-alike", events(text("{\"a\":1}"), STOP), {"text": "{\"a\":1}", "error": "none"}, "the text")
case("d17-older-api", events({"choices": [{"index": 0, "text": "Hi", "finish_reason": None}]}, {"choices": [{"index": 0, "text": "!", "finish_reason": "stop"}]}), {"text": "Hi!", "finish": "stop", "error": "none"}, "the text")
case("d18-text-beside-a-delta-alike", events(chunk({"content": "Hi"}, choice={"text": "x"}), STOP), {"text": "Hi", "gens/0/extra/text": "x", "error": "none"}, "the content")
case("d19-page-without-type-alike", "<html>\n<p>Welcome</p>\n</html>\n", {"error": "InvalidBody"}, "an error: it is not an answer", type=None)
case("c10-content-as-object", events(chunk({"content": {"type": "text", "text": "Hi"}}), STOP), {"text": "Hi", "error": "none"}, "the text")
