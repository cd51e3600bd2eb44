#![allow(clippy::unwrap_used)]

use super::*;

const LIMITS: DecoderLimits = DecoderLimits { event: 200, object: 400, silence: 1000 };

/// The parts of the bytes: `name|text` of events, and the text of objects. An error is the last.
fn parts_in(bytes: &[u8], size: usize) -> Vec<String> {
    let mut decoder = Decoder::new(LIMITS);
    let mut parts = Vec::new();
    let mut packets = bytes.chunks(size);
    let mut ended = false;
    loop {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match decoder.next() {
            Ok(Some(Part::Event)) => {
                parts.push(format!("{}|{}", text(decoder.name()), text(decoder.text())));
            }
            Ok(Some(Part::Object)) => parts.push(text(decoder.text())),
            Ok(Some(Part::Pause)) => decoder.refill(),
            Ok(None) => match packets.next() {
                Some(packet) => decoder.push(Bytes::copy_from_slice(packet)),
                None if ended => break,
                None => {
                    ended = true;
                    decoder.push_end();
                }
            },
            Err(error) => {
                parts.push(format!("{error:?}"));
                return parts;
            }
        }
    }
    if let Some(open) = decoder.open_object() {
        parts.push(format!("open: {}", String::from_utf8_lossy(open)));
    }
    parts
}

#[track_caller]
fn check(stream: &str, expected: &[&str]) {
    for size in 1..=stream.len().max(1) {
        assert_eq!(parts_in(stream.as_bytes(), size), expected, "packets of {size}");
    }
}

#[test]
fn events_are_those_of_the_standard() {
    check("data: a\n\ndata:b\n\ndata\n\n", &["|a", "|b", "|"]);
    check("event: x\ndata: a\ndata: b\n\ndata: c\n\n", &["x|a\nb", "|c"]);
    check("data: a\r\n\r\ndata: b\r\rdata: c\n\r\n", &["|a", "|b", "|c"]);
    check(": comment\n\nid: 1\nretry: 3\nunknown: 4\n\n", &[]);
    check("\u{feff}data: a\n\n", &["|a"]);
    check("data: a\n: comment\ndata: b\n\n", &["|a\nb"]);
    check("event: x\n\ndata: a", &["|a"]);
    check("data:  a \n\n", &["| a "]);
}

#[test]
fn an_event_ends_with_its_object() {
    check(
        "data: {\"a\":1}\ndata: {\"b\":2}\ndata: [DONE]",
        &["|{\"a\":1}", "|{\"b\":2}", "|[DONE]"],
    );
    check("data: {\"a\":\ndata: 1}\n\ndata: {}\n\n", &["|{\"a\":\n1}", "|{}"]);
    check(
        "event: error\ndata: {}\ndata: {\"b\":1}\n\ndata: {}\n\n",
        &["error|{}", "error|{\"b\":1}", "|{}"],
    );
    // A text that is no object goes on until the blank line.
    check("data: {} x\ndata: y\n\n", &["|{} x\ny"]);
    check("data: \"[DONE]\"\ndata: x\n\n", &["|\"[DONE]\"", "|x"]);
}

#[test]
fn json_that_is_no_event_is_found() {
    check("{\"a\":1}", &["{\"a\":1}"]);
    check("\n\n \r\n{\n \"a\": {}\n}\n", &["{\n \"a\": {}\n}"]);
    check("\u{feff}{\"a\":\n1}\n", &["{\"a\":1}"]);
    check("[{\"a\":1},\n{\"b\":2}]\n", &["{\"a\":1}", "{\"b\":2}"]);
    check("{\"a\":1}\n\ndata: [DONE]\n\n", &["{\"a\":1}", "|[DONE]"]);
    check("{\"a\":1}{\"b\":2}[DONE]", &["{\"a\":1}", "{\"b\":2}", "|[DONE]"]);
    check("data: {}\n\n: x\n\n{\"error\":1}", &["|{}", "{\"error\":1}"]);
    check("{\"a\":", &["open: {\"a\":"]);
    check("error: {\"message\":\"no\"}\n\n", &["error|{\"message\":\"no\"}"]);
    check("[]\n[\"x\"]\nnull\n\"x\"\n", &[]);
}

#[test]
fn json_goes_on_in_lines_without_data() {
    check(
        "data: {\n  \"a\": [\n    1\n  ],\n  \"b\": 2\n}\n\ndata: {}\n\n",
        &["|{\n\"a\": [\n1\n],\n\"b\": 2\n}", "|{}"],
    );
}

/// Lines and bytes count, whatever they are: between two pauses there are at most a thousand lines.
#[test]
fn no_kind_of_line_is_read_without_pauses() {
    let limits = DecoderLimits { event: 1 << 20, object: 1 << 20, silence: 1 << 20 };
    for lines in ["data:\n", "data:\n\n", "\n", "\r\n", ":\n", "id: 1\n", "x\n", " ", "[\n", ","] {
        let mut decoder = Decoder::new(limits);
        decoder.push(lines.repeat(50_000).into());
        let mut pauses = 0;
        while let Some(part) = decoder.next().unwrap() {
            if part == Part::Pause {
                decoder.refill();
                pauses += 1;
            }
        }
        assert!(pauses >= 48, "{lines:?}: {pauses} pauses");
    }
    let mut decoder = Decoder::new(limits);
    decoder.push(format!("data: {}\ndata: x\n", "x".repeat(1 << 19)).into());
    assert_eq!(decoder.next().unwrap(), Some(Part::Pause), "after half a megabyte");
}

#[test]
fn limits_hold_in_packets_of_every_size() {
    let long = "x".repeat(201);
    check(&format!("data: a\n\ndata: {long}\n\n"), &["|a", "Event"]);
    check(&format!("data: {}\ndata: {}\n\n", &long[..100], &long[..100]), &["Event"]);
    check(&format!("{{\"a\":\"{long}{long}\"}}"), &["Object"]);
    let noise = ": comment\n\n".repeat(91);
    check(&format!("data: a\n\n{noise}data: b\n\n"), &["|a", "Silence"]);
    assert_eq!(parts_in("data: a\n\n".repeat(10).as_bytes(), 7).len(), 10);
}
