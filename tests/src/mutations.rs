//! Recorded answers, changed at random. No change makes the client panic, hang, print its key, or
//! depend on the borders of packets.

use std::fmt::Write as _;
use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::stream::{self, StreamExt};
use rappel_core::runtime::BoxFuture;
use rappel_core::{ChatModel, ChatModelExt, Message, Timer};
use rappel_openai::{Api, BodyStream, ChatOpenAi, OpenAiError, Transport};

use crate::openai_server::MARKED_KEY;
use crate::wire::Case;

/// The directories of recorded answers, below `tests`.
const CASES: [&str; 3] = ["wire/cases", "wire_neighbours/cases", "wire_responses/cases"];

/// Texts that mean something in an answer.
const TOKENS: [&[u8]; 24] = [
    b"\n",
    b"\r\n\r\n",
    b"data: ",
    b"data: [DONE]\n\n",
    b"event: error\n",
    b": ",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"null",
    b"NaN",
    b"-Infinity",
    b"\xff",
    b"\xe2\x82",
    b"\xef\xbb\xbf",
    b"\\ud83d",
    b"\"error\":\"no\",",
    b"\"index\":1,",
    b"\"finish_reason\":\"stop\",",
    MARKED_KEY.as_bytes(),
];

/// A generator of numbers: splitmix64.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap_or_default()
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let size = 1 << self.below(9);
        start..length.min(start + self.below(size + 1))
    }
}

/// An answer, without the framing of HTTP.
#[derive(Debug, Clone)]
struct Answer {
    streaming: bool,
    status: u16,
    content_type: Option<String>,
    encoding: Option<String>,
    body: Vec<u8>,
}

/// What follows the last byte.
#[derive(Debug, Clone, Copy)]
enum End {
    Good,
    Cut,
    Silence,
}

/// The recorded answers.
///
/// # Panics
/// If they cannot be read.
fn corpus() -> Vec<Answer> {
    let mut answers: Vec<Answer> =
        CASES.iter().flat_map(|cases| Case::all(cases)).map(|case| answer(&case)).collect();
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/openai/fuzz/corpus/answer");
    let mut files: Vec<_> =
        fs::read_dir(fuzz).expect("a corpus").map(|file| file.expect("a file").path()).collect();
    files.sort();
    for file in files {
        let input = fs::read(file).expect("an input");
        if let Some((first, body)) = input.split_first() {
            let streaming = first & 1 == 0;
            answers.push(Answer {
                streaming,
                status: 200,
                content_type: None,
                encoding: None,
                body: body.to_vec(),
            });
        }
    }
    answers
}

fn answer(case: &Case) -> Answer {
    let end = case.bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&case.bytes[..end]).into_owned();
    let header = |name: &str| {
        let mut lines = head.lines();
        lines
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
    };
    let body = &case.bytes[end + 4..];
    Answer {
        streaming: case.streaming,
        status: head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"),
        content_type: header("content-type"),
        encoding: header("content-encoding"),
        body: if header("transfer-encoding").is_some() { unchunked(body) } else { body.to_vec() },
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|bytes| bytes == b"\r\n") {
        let size =
            usize::from_str_radix(&String::from_utf8_lossy(&body[..end]), 16).unwrap_or_default();
        let rest = &body[end + 2..];
        whole.extend_from_slice(&rest[..size.min(rest.len())]);
        if size == 0 {
            break;
        }
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

fn mutate(random: &mut Random, answers: &[Answer]) -> (Answer, End) {
    let mut changed = answers[random.below(answers.len())].clone();
    let body = &mut changed.body;
    for _ in 0..random.below(6) {
        let at = random.below(body.len() + 1);
        let range = random.range(body.len());
        match random.below(7) {
            0 if at < body.len() => body[at] ^= 1 << random.below(8),
            1 => drop(body.drain(range)),
            2 => {
                let copy = body[range].to_vec();
                body.splice(at..at, copy);
            }
            3 | 4 => {
                body.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied());
            }
            5 => {
                let other = &answers[random.below(answers.len())].body;
                let part = other[random.range(other.len())].to_vec();
                body.splice(range, part);
            }
            _ => body.truncate(at),
        }
    }
    if random.below(20) == 0 {
        changed.streaming = !changed.streaming;
    }
    let end = match random.below(4) {
        0 => End::Cut,
        1 => End::Silence,
        _ => End::Good,
    };
    (changed, end)
}

/// Answers with those bytes, in packets of that size.
struct Canned {
    answer: Answer,
    packet: usize,
    end: End,
}

impl Transport for Canned {
    fn send(
        &self,
        _: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>> {
        let (bytes, packet) = (Bytes::from(self.answer.body.clone()), self.packet);
        let starts = (0..bytes.len()).step_by(packet);
        let packets: Vec<_> = starts
            .map(|start| bytes.slice(start..bytes.len().min(start.saturating_add(packet))))
            .collect();
        let packets = stream::iter(packets.into_iter().map(Ok));
        let body: BodyStream = match self.end {
            End::Good => packets.boxed(),
            End::Cut => packets.chain(stream::iter([Err(OpenAiError::cut("cut"))])).boxed(),
            End::Silence => packets.chain(stream::pending()).boxed(),
        };
        let mut head = http::Response::builder().status(self.answer.status);
        for (name, value) in [
            ("content-type", &self.answer.content_type),
            ("content-encoding", &self.answer.encoding),
        ] {
            if let Some(value) = value {
                head = head.header(name, value);
            }
        }
        Box::pin(async move { head.body(body).map_err(OpenAiError::transport) })
    }
}

/// A timer whose sleeps are over when nothing else happens.
#[derive(Debug, Clone, Default)]
struct Jumping(Arc<AtomicU64>);

/// More polls than a body of this corpus needs. The client yields now and then, and is then polled
/// again at once.
const PATIENCE: u32 = 5_000;

impl Timer for Jumping {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (time, mut polls) = (self.0.clone(), 0);
        Box::pin(poll_fn(move |cx| {
            polls += 1;
            if polls < PATIENCE {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX >> 1);
            time.fetch_add(nanoseconds, Ordering::Relaxed);
            Poll::Ready(())
        }))
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Everything that a caller can see of an answer.
fn outcome(api: Api, answer: &Answer, packet: usize, end: End) -> String {
    let chat = ChatOpenAi::builder()
        .model("m")
        .api(api)
        .base_url("http://localhost/v1")
        .api_key(MARKED_KEY)
        .max_retries(0)
        .streaming(answer.streaming)
        .timer(Jumping::default())
        .transport(Canned { answer: answer.clone(), packet, end })
        .build()
        .expect("the settings are valid");
    if !answer.streaming {
        return format!("{:?}", block_on(chat.invoke("hi")));
    }
    let mut seen = String::new();
    match block_on(chat.stream(vec![Message::human("hi")])) {
        Ok(mut stream) => {
            while let Some(chunk) = block_on(stream.next()) {
                let _ = writeln!(seen, "{chunk:?}");
            }
        }
        Err(error) => {
            let _ = writeln!(seen, "{error:?} {error}");
        }
    }
    seen
}

/// Reads changed answers, and compares what comes of each in packets of several sizes. `before` is
/// told the number of each input.
///
/// # Panics
/// If an outcome depends on the packets, or has the key in it. The message names the input.
pub fn run(seed: u64, inputs: std::ops::Range<u64>, mut before: impl FnMut(u64)) {
    let answers = corpus();
    for input in inputs {
        before(input);
        let mut random = Random(seed ^ input.wrapping_mul(0xd134_2543_de82_ef95));
        let (answer, end) = mutate(&mut random, &answers);
        let api = if input % 2 == 0 { Api::ChatCompletions } else { Api::Responses };
        let whole = outcome(api, &answer, usize::MAX, end);
        assert!(!whole.contains(MARKED_KEY), "seed {seed}, input {input}: the key is in {whole}");
        let sizes = [1, 2 + random.below(40)];
        for packet in sizes {
            let pieces = outcome(api, &answer, packet, end);
            assert_eq!(
                whole,
                pieces,
                "seed {seed}, input {input}, {api:?}, packets of {packet}, {end:?}: {:?}",
                String::from_utf8_lossy(&answer.body)
            );
        }
    }
}
