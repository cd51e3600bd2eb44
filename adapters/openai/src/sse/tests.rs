#![allow(clippy::unwrap_used)]

use core::num::NonZeroUsize;
use std::{collections::VecDeque, sync::Arc, task::Wake};

use crate::secret::Secrets;

use futures_lite::{StreamExt, future::block_on};
use proptest::prelude::*;

use super::*;

static_assertions::assert_impl_all!(ChunkStream: Send, Unpin);

/// A body that is always ready; it notes when it is dropped.
struct Canned(VecDeque<Result<Bytes, OpenAiError>>, Arc<()>);

impl Packets for Canned {}

impl Stream for Canned {
    type Item = Result<Bytes, OpenAiError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.get_mut().0.pop_front())
    }
}

fn packets<T: AsRef<[u8]>>(packets: impl IntoIterator<Item = T>) -> Canned {
    let packets = packets.into_iter();
    Canned(
        packets.map(|packet| Ok(Bytes::copy_from_slice(packet.as_ref()))).collect(),
        Arc::new(()),
    )
}

fn stream(bytes: Canned) -> ChunkStream<Canned> {
    ChunkStream::new(bytes, Secrets::default(), &Limits::default(), false)
}

/// The texts of the chunks, and how the stream ended.
fn read(mut stream: ChunkStream<Canned>) -> (Vec<String>, Result<(), OpenAiError>) {
    let mut texts = Vec::new();
    loop {
        match block_on(stream.next()) {
            Some(Ok(chunk)) => texts.push(text(&chunk)),
            Some(Err(error)) => {
                assert!(block_on(stream.next()).is_none(), "not fused after an error");
                return (texts, Err(error));
            }
            None => {
                assert!(block_on(stream.next()).is_none(), "not fused after its end");
                return (texts, Ok(()));
            }
        }
    }
}

fn text(chunk: &Chunk) -> String {
    let delta = chunk.choices.first().map(|choice| choice.clone().into_content());
    delta.and_then(|delta| delta.content.text).unwrap_or_default()
}

fn event(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

const LAST: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

/// A byte order mark, comments, every kind of line end, fields that nobody
/// asked for, blank events, data in two lines, and characters of two to four bytes.
fn everything() -> String {
    [
        "\u{feff}: welcome\n\n",
        "retry: 100\n\n",
        "id: 1\nevent: message\ndata:{\"choices\":[{\"delta\":{\"content\":\"é\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":\r\ndata: {\"content\":\"€\"}}]}\r\n\r\n",
        "data:\n\n:\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"😀\"}}]}\r\r",
        LAST,
        "data: [DONE]\n\n",
        "data: not JSON, but nobody reads it\n\n",
    ]
    .concat()
}

#[test]
fn every_split_gives_the_same_chunks() {
    let bytes = everything().into_bytes();
    let expected = ["é", "€", "😀", ""];

    let (texts, end) = read(stream(packets([&bytes])));
    assert_eq!(texts, expected);
    assert!(end.is_ok(), "{end:?}");

    for split in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(split);
        let (texts, end) = read(stream(packets([head, tail])));
        assert_eq!(texts, expected, "split at {split}");
        assert!(end.is_ok(), "split at {split}: {end:?}");
    }
    for size in 1..40 {
        let (texts, end) = read(stream(packets(bytes.chunks(size))));
        assert_eq!(texts, expected, "packets of {size}");
        assert!(end.is_ok(), "packets of {size}: {end:?}");
    }
}

#[test]
fn done_ends_the_stream_and_the_body() {
    let bytes = packets([event("a"), "data: [DONE]\n\n".into(), event("b")]);
    let alive = bytes.1.clone();
    let mut stream = stream(bytes);
    assert_eq!(text(&block_on(stream.next()).unwrap().unwrap()), "a");
    assert_eq!(Arc::strong_count(&alive), 2);
    assert!(block_on(stream.next()).is_none());
    assert_eq!(Arc::strong_count(&alive), 1, "the body outlives the stream's end");
}

#[test]
fn a_finish_reason_is_as_good_as_done() {
    let (texts, end) = read(stream(packets([event("a"), LAST.into()])));
    assert_eq!(texts, ["a", ""]);
    assert!(end.is_ok(), "{end:?}");
}

#[test]
fn each_answer_has_to_say_why_it_ended() {
    let end = |index: u32| {
        format!(
            "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n"
        )
    };
    let other = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n".to_owned();
    let (_, cut) = read(stream(packets([event("a"), other.clone(), end(0)])));
    assert!(matches!(cut, Err(OpenAiError::Cut { source: None })), "{cut:?}");
    let (_, whole) = read(stream(packets([event("a"), other, end(0), end(1), event("")])));
    assert!(whole.is_ok(), "{whole:?}");
}

#[test]
fn without_either_the_answer_is_cut() {
    for bytes in [vec![event("a")], vec![event("a"), "data: {\"choi".into()]] {
        let (texts, end) = read(stream(packets(bytes)));
        assert_eq!(texts, ["a"]);
        assert!(matches!(end, Err(OpenAiError::Cut { source: None })), "{end:?}");
    }
    let (texts, end) = read(stream(packets([""])));
    assert!(texts.is_empty() && matches!(end, Err(OpenAiError::Cut { .. })));
}

#[test]
fn the_last_blank_line_may_be_missing() {
    for last in ["data: [DONE]", "data: [DONE]\n", LAST.trim_end()] {
        let (texts, end) = read(stream(packets([event("a"), last.into()])));
        assert_eq!(texts[0], "a");
        assert!(end.is_ok(), "{last:?}: {end:?}");
    }
}

#[test]
fn a_broken_connection_is_passed_on_after_what_came_before() {
    let mut bytes = packets([event("a")]);
    bytes.0.push_back(Err(OpenAiError::Cut { source: Some("reset".into()) }));
    let (texts, end) = read(stream(bytes));
    assert_eq!(texts, ["a"]);
    assert!(matches!(end, Err(OpenAiError::Cut { source: Some(_) })), "{end:?}");
}

#[test]
fn errors_in_mid_stream_have_their_words_but_not_the_key() {
    let key = Secrets::from(crate::secret::Secret::new("sk-secret-1").unwrap());
    for (error, message) in [
        (
            r#"data: {"error":{"message":"overloaded","type":"server_error","code":503}}"#,
            "overloaded",
        ),
        (r#"data: {"object":"error","message":"overloaded","type":"x","code":400}"#, "overloaded"),
        ("event: error\ndata: {\"error\":\"key sk-secret-1\"}", "key [redacted]"),
        ("event: error\ndata: no JSON sk-secret-1", "no JSON [redacted]"),
        ("event: error\ndata: {}", "no reason given"),
    ] {
        let bytes = packets([event("a"), format!("{error}\n\n"), event("b")]);
        let (texts, end) = read(ChunkStream::new(bytes, key.clone(), &Limits::default(), false));
        assert_eq!(texts, ["a"]);
        let end = end.unwrap_err();
        assert!(!format!("{end:?} {end}").contains("secret"), "{end:?}");
        let OpenAiError::Reported { message: found, .. } = end else {
            panic!("{end:?}");
        };
        assert_eq!(found, message);
    }
}

/// Some gateways begin a stream and have an error then, which they write as it is; llama.cpp had a
/// field of its own for it.
#[test]
fn an_error_that_is_no_event_has_its_words_too() {
    let key = Secrets::from(crate::secret::Secret::new("sk-secret-1").unwrap());
    for error in [
        r#"{"error":{"message":"overloaded, sk-secret-1"}}"#,
        "{\n  \"error\": {\n    \"message\": \"overloaded, sk-secret-1\"\n  }\n}\n",
        "error: {\"error\":{\"message\":\"overloaded, sk-secret-1\"}}\n\n",
        ": PROCESSING\r\n\r\n: PROCESSING\r\n\r\n{\"object\":\"error\",\"message\":\"overloaded, sk-secret-1\"}",
    ] {
        for size in [1, 7, 1000] {
            for before in [vec![], vec![event("a")]] {
                let bytes = before.concat() + error;
                let (texts, end) = read(ChunkStream::new(
                    packets(bytes.as_bytes().chunks(size)),
                    key.clone(),
                    &Limits::default(),
                    false,
                ));
                assert_eq!(texts.len(), before.len());
                assert!(
                    matches!(&end, Err(OpenAiError::Reported { message, .. }) if message == "overloaded, [redacted]"),
                    "{bytes} in {size}: {end:?}"
                );
            }
        }
    }
    // Behind the end of the answer it is of no account, and what is no error is a cut.
    let (_, whole) = read(stream(packets([LAST, "{\"error\":\"late\"}"])));
    assert!(whole.is_ok(), "{whole:?}");
    for other in ["{\"id\":1}", "nonsense", "{\"error\":null}"] {
        let (_, cut) = read(stream(packets([event("a"), other.to_owned()])));
        assert!(matches!(cut, Err(OpenAiError::Cut { source: None })), "{cut:?}");
    }
}

#[test]
fn an_event_that_is_no_json_is_an_error() {
    for data in ["{\"id\":", "secret", "[]", "\"secret\""] {
        let (texts, end) = read(stream(packets([event("a"), format!("data: {data}\n\n")])));
        assert_eq!(texts, ["a"]);
        let end = end.unwrap_err();
        assert!(matches!(end, OpenAiError::InvalidEvent { .. }), "{data}: {end:?}");
        assert!(!format!("{end:?}").contains("secret"), "{end:?}");
    }
}

/// As the standard of event streams says.
#[test]
fn what_is_no_utf8_is_replaced() {
    let mut bytes = event("a").into_bytes();
    bytes.extend(b"data: {\"choices\":[{\"delta\":{\"content\":\"l\xe2\x82o\"}}]}\n\n");
    bytes.extend(LAST.as_bytes());
    for size in 1..=bytes.len() {
        let (texts, end) = read(stream(packets(bytes.chunks(size))));
        assert_eq!(texts, ["a", "l\u{fffd}o", ""], "packets of {size}");
        assert!(end.is_ok(), "packets of {size}: {end:?}");
    }
}

#[test]
fn what_is_no_text_at_all_is_an_error() {
    for garbage in [&b"\x1f\x8b\x08\0\0\n\0\xff\x03"[..], b"\x28\xb5\x2f\xfd\x04", b"\x89\xfe\n\n"]
    {
        for size in 1..=garbage.len() {
            let (texts, end) = read(stream(packets(garbage.chunks(size))));
            assert!(texts.is_empty());
            assert!(matches!(end, Err(OpenAiError::NotUtf8)), "packets of {size}: {end:?}");
        }
    }
}

#[test]
fn an_endless_event_is_an_error() {
    let limits = Limits { event: NonZeroUsize::new(100).unwrap(), ..Limits::default() };
    let bytes = packets([event("a"), event(&"b".repeat(100)), LAST.into()]);
    let (texts, end) = read(ChunkStream::new(bytes, Secrets::default(), &limits, false));
    assert_eq!(texts, ["a"]);
    assert!(matches!(end, Err(OpenAiError::EventTooLarge { limit: 100 })), "{end:?}");
}

#[test]
fn endless_silence_is_an_error() {
    let limits = Limits { silence: 1000, ..Limits::default() };
    for noise in [": comment\n\n", "retry: 1\n\n", "data:\n\n", "nonsense\n"] {
        let noise = std::iter::repeat_n(noise.to_owned(), 10_000);
        let bytes = packets(std::iter::once(event("a")).chain(noise));
        let (texts, end) = read(ChunkStream::new(bytes, Secrets::default(), &limits, false));
        assert_eq!(texts, ["a"]);
        assert!(matches!(end, Err(OpenAiError::NoEvents { limit: 1000 })), "{end:?}");
    }
}

#[test]
fn a_stream_that_is_always_ready_yields_now_and_then() {
    struct Wakes(std::sync::atomic::AtomicUsize);
    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let wakes = Arc::new(Wakes(0.into()));
    let waker = wakes.clone().into();
    let mut stream = stream(packets([event("a").repeat(1000), LAST.into()]));

    let (mut chunks, mut yields) = (0, 0);
    loop {
        match Pin::new(&mut stream).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(chunk)) => {
                chunk.unwrap();
                chunks += 1;
            }
            Poll::Ready(None) => break,
            Poll::Pending => yields += 1,
        }
    }
    assert_eq!(chunks, 1001);
    assert!(yields >= 10, "{yields}");
    assert_eq!(wakes.0.load(std::sync::atomic::Ordering::Relaxed), yields);
}

#[test]
fn the_conversation_is_not_in_the_debug_output() {
    let mut stream = stream(packets([event("a") + &event("secret")]));
    block_on(stream.next()).unwrap().unwrap();
    let events = format!("{:?}", stream.events);
    assert!(!events.contains("secret"), "{events}");
}

/// What streams are made of, good and bad.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        &b"data: [DONE]\n\n"[..],
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\xef\xbb\xbf",
        b": comment\n\n",
        b"id: 1\nretry: 5\n",
        b"event: error\n",
        b"data",
        b"data:",
        b"data: {\"choices\":\n",
        b"data: {\"error\":{\"message\":\"no\"}}\n\n",
        b"\xe2\x82",
        b"\xf0\x9f\x98\x80",
        b"\0",
        LAST.as_bytes(),
    ]);
    prop_oneof![
        "[a-z \u{e9}\u{20ac}\u{1f600}]{0,12}".prop_map(|text| event(&text).into_bytes()),
        fixed.prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Where a packet ends is up to the network: it must not matter.
    #[test]
    fn any_split_of_the_bytes_gives_the_same_events(
        pieces in prop::collection::vec(piece(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        event_limit in 1..200_usize,
    ) {
        let bytes = pieces.concat();
        let limits = Limits { event: NonZeroUsize::new(event_limit).unwrap(), ..Limits::default() };
        let whole = read(ChunkStream::new(packets([&bytes]), Secrets::default(), &limits, false));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let split = packets(cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]));
        let split = read(ChunkStream::new(split, Secrets::default(), &limits, false));
        prop_assert_eq!(format!("{:?}", whole), format!("{:?}", split));
    }
}

/// Were any of it quadratic, these would take hours.
#[test]
fn a_million_tiny_packets_and_an_event_of_four_megabytes_are_read() {
    let mut limits = Limits::default();
    limits.set_event(NonZeroUsize::new(5 << 20).unwrap());
    let long = event(&"x".repeat(4 << 20));
    let tiny = packets(long.as_bytes().chunks(4).chain([LAST.as_bytes()]));
    let (texts, end) = read(ChunkStream::new(tiny, Secrets::default(), &limits, false));
    assert!(texts[0].len() == 4 << 20 && end.is_ok(), "{end:?}");

    let many =
        std::iter::repeat_n(event("y"), 100_000).chain([LAST.to_owned()]).collect::<String>();
    let (texts, end) = read(ChunkStream::new(packets([many]), Secrets::default(), &limits, false));
    assert!(texts.len() == 100_001 && end.is_ok(), "{end:?}");

    // An event of a million lines without any text.
    let blank = "data:\n".repeat(1_000_000) + &event("z") + LAST;
    let (texts, end) = read(ChunkStream::new(packets([blank]), Secrets::default(), &limits, false));
    assert!(texts == ["z", ""] && end.is_ok(), "{texts:?} {end:?}");
}

/// A reasoning and a message of 300,000 parts: each is joined in place.
#[test]
fn an_item_of_very_many_parts_is_read() {
    const PARTS: usize = 300_000;
    let mut limits = Limits::default();
    limits.set_event(NonZeroUsize::new(16 << 20).unwrap());
    let parts = vec![r#"{"text":"x"}"#; PARTS].join(",");
    for (item, content) in [
        (format!(r#"{{"type":"reasoning","summary":[{parts}]}}"#), 0),
        (format!(r#"{{"type":"message","content":[{parts}]}}"#), PARTS),
    ] {
        let done = format!("data: {{\"type\":\"response.output_item.done\",\"item\":{item}}}\n\n");
        let end =
            "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n";
        let stream = ChunkStream::new(packets([&*done, end]), Secrets::default(), &limits, false);
        let (texts, end) = read(stream.with_api(crate::responses::Api::Responses));
        assert!(texts[0].len() == content && end.is_ok(), "{end:?}");
    }
}
