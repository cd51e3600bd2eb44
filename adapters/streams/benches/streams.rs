//! 1,000 open streams of 200 events, encoded for the AI SDK, beside hand-written SSE over a channel:
//! first as fast as they go, then 400 of each with a token every 10 ms, to sockets of their own.
//!
//! `cargo bench -p rappel-streams --bench streams`. The two are measured in turn, and the ratio is the
//! median of the rounds. The delay is the time from before a token's emit until its frame is there,
//! or until the socket has taken it. If they go as fast as they can, it is mostly the time that other
//! streams take.

#![allow(clippy::unwrap_used, reason = "a bench")]

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rappel_core::{CallbackManager, ChatModelStart, Message, json};
use rappel_streams::{EventFilter, Sse, event_stream, sse_frame, ui_message_stream};
use rappel_tokio::Tokio;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const STREAMS: usize = 1_000;
/// So many that two sockets for each are below the usual limit of 1,024 open files.
const SOCKETS: usize = 400;
/// The tokens of a stream. With the start and the end they are 200 events.
const TOKENS: usize = 198;
const ROUNDS: usize = 15;
/// The time between the tokens of a stream to a socket.
const PACE: Duration = Duration::from_millis(10);
const PACED_ROUNDS: usize = 3;

/// When a stream's next token comes.
#[derive(Clone)]
struct Pace {
    begin: Instant,
    every: Option<Duration>,
    /// How much later than that its first token comes.
    offset: Duration,
    /// How often the stream's task has been polled.
    polls: Arc<AtomicU64>,
}

impl Pace {
    async fn next(&self, token: usize) {
        if let Some(every) = self.every {
            // Later tokens are not nearer to each other if this one is late.
            let first = if token == 0 { self.offset } else { Duration::ZERO };
            return tokio::time::sleep(first + every).await;
        }
        // In the task's next poll. `yield_now` would be ready when it is polled again in this one.
        let polls = self.polls.load(Ordering::Relaxed);
        poll_fn(|cx| {
            if self.polls.load(Ordering::Relaxed) != polls {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Counts the polls of a task.
    async fn count<F: Future>(&self, task: F) -> F::Output {
        let mut task = std::pin::pin!(task);
        poll_fn(|cx| {
            self.polls.fetch_add(1, Ordering::Relaxed);
            task.as_mut().poll(cx)
        })
        .await
    }
}

async fn streams(
    callbacks: CallbackManager,
    pace: Pace,
    mut socket: Option<TcpStream>,
) -> Vec<Duration> {
    let begin = pace.begin;
    let stream = event_stream(EventFilter::new());
    let callbacks = stream.attach(&callbacks).unwrap();
    let work = async move {
        let start = ChatModelStart::new("m", [Message::human("hi")]);
        let mut run = callbacks.on_chat_model_start(start).await.unwrap();
        for token in 0..TOKENS {
            pace.next(token).await;
            run.on_llm_new_token(begin.elapsed().as_nanos().to_string()).await.unwrap();
        }
        run.end("done").await.unwrap();
    };
    let mut frames = Sse::new(stream.drive(work), ui_message_stream());
    let mut delays = Vec::with_capacity(TOKENS);
    while let Some(frame) = frames.next().await {
        let frame = frame.unwrap();
        write(&mut socket, &frame).await;
        delays.extend(delay(&frame, begin));
    }
    delays
}

async fn by_hand(pace: Pace, mut socket: Option<TcpStream>) -> Vec<Duration> {
    let begin = pace.begin;
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<String>(256);
    let work = async move {
        for token in 0..TOKENS {
            pace.next(token).await;
            sender.send(begin.elapsed().as_nanos().to_string()).await.unwrap();
        }
    };
    let read = async move {
        let mut delays = Vec::with_capacity(TOKENS);
        while let Some(token) = receiver.recv().await {
            let frame = sse_frame(&json!({ "type": "text-delta", "id": "text-1", "delta": token }));
            write(&mut socket, &frame).await;
            delays.extend(delay(&frame, begin));
        }
        delays
    };
    tokio::join!(work, read).1
}

async fn write(socket: &mut Option<TcpStream>, frame: &str) {
    if let Some(socket) = socket {
        socket.write_all(frame.as_bytes()).await.unwrap();
    }
}

fn delay(frame: &str, begin: Instant) -> Option<Duration> {
    let (_, rest) = frame.split_once("\"delta\":\"")?;
    let nanos = rest.split_once('"')?.0.parse().ok()?;
    Some(begin.elapsed().saturating_sub(Duration::from_nanos(nanos)))
}

/// Sockets on loopback. What is written to them is read and dropped.
async fn sockets(count: usize) -> Vec<Option<TcpStream>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut sockets = Vec::new();
    for _ in 0..count {
        let (writer, reader) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (writer, (mut reader, _)) = (writer.unwrap(), reader.unwrap());
        writer.set_nodelay(true).unwrap();
        tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        sockets.push(Some(writer));
    }
    sockets
}

async fn measure<F>(
    sockets: Vec<Option<TcpStream>>,
    every: Option<Duration>,
    stream: impl Fn(Pace, Option<TcpStream>) -> F,
) -> (Duration, Vec<Duration>)
where
    F: Future<Output = Vec<Duration>> + Send + 'static,
{
    let (begin, count) = (Instant::now(), sockets.len());
    let tasks: JoinSet<Vec<Duration>> = sockets
        .into_iter()
        .enumerate()
        .map(|(number, socket)| {
            // The streams have their tokens one after the other.
            let offset = every.map_or(Duration::ZERO, |every| every * number as u32 / count as u32);
            let pace = Pace { begin, every, offset, polls: Arc::default() };
            let task = stream(pace.clone(), socket);
            async move { pace.count(task).await }
        })
        .collect();
    let delays: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(delays.len(), count * TOKENS);
    (begin.elapsed(), delays)
}

async fn panel(callbacks: &CallbackManager, count: usize, to: &str) {
    let outputs = async || match to {
        "socket" => sockets(count).await,
        _ => (0..count).map(|_| None).collect(),
    };
    let (mut ratios, mut ours, mut hand) = (Vec::new(), Vec::new(), Vec::new());
    let (every, rounds) = match to {
        "socket" => (Some(PACE), PACED_ROUNDS),
        _ => (None, ROUNDS),
    };
    for _ in 0..rounds {
        let of = |pace, socket| streams(callbacks.clone(), pace, socket);
        let by_streams = measure(outputs().await, every, of).await;
        let by_hand = measure(outputs().await, every, by_hand).await;
        ratios.push(by_streams.0.as_secs_f64() / by_hand.0.as_secs_f64());
        ours.extend(by_streams.1);
        hand.extend(by_hand.1);
    }
    ratios.sort_by(f64::total_cmp);
    if every.is_none() {
        println!("{count} streams, beside by hand: {:.2} x", ratios[rounds / 2]);
    }
    for (name, mut delays) in [("streams", ours), ("by hand", hand)] {
        delays.sort();
        let (p50, p99) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
        println!("{count} {name}: token to {to}: p50 {p50:?}, p99 {p99:?}");
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let callbacks = CallbackManager::new(Tokio::current());
        panel(&callbacks, STREAMS, "frame").await;
        panel(&callbacks, SOCKETS, "socket").await;
    });
}
