//! 1,000 open streams of 200 events, encoded for the AI SDK, beside hand-written SSE over a channel;
//! then 400 of each that write their frames to sockets of their own.
//!
//! `cargo bench -p rappel-streams --bench streams`. The two are measured in turn. The figures are
//! medians of the rounds. The delay is the time from before a token's emit until its frame is there,
//! or until the socket has taken it.

#![allow(clippy::unwrap_used, reason = "a bench")]

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

async fn streams(
    callbacks: CallbackManager,
    begin: Instant,
    mut socket: Option<TcpStream>,
) -> Vec<Duration> {
    let stream = event_stream(EventFilter::new());
    let callbacks = stream.attach(&callbacks).unwrap();
    let work = async move {
        let start = ChatModelStart::new("m", [Message::human("hi")]);
        let mut run = callbacks.on_chat_model_start(start).await.unwrap();
        for _ in 0..TOKENS {
            run.on_llm_new_token(begin.elapsed().as_nanos().to_string()).await.unwrap();
            tokio::task::yield_now().await;
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

async fn by_hand(begin: Instant, mut socket: Option<TcpStream>) -> Vec<Duration> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<String>(256);
    let work = async move {
        for _ in 0..TOKENS {
            sender.send(begin.elapsed().as_nanos().to_string()).await.unwrap();
            tokio::task::yield_now().await;
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
    stream: impl Fn(Instant, Option<TcpStream>) -> F,
) -> (Duration, Vec<Duration>)
where
    F: Future<Output = Vec<Duration>> + Send + 'static,
{
    let (begin, count) = (Instant::now(), sockets.len());
    let tasks: JoinSet<Vec<Duration>> =
        sockets.into_iter().map(|socket| stream(begin, socket)).collect();
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
    for _ in 0..ROUNDS {
        let of = |begin, socket| streams(callbacks.clone(), begin, socket);
        let by_streams = measure(outputs().await, of).await;
        let by_hand = measure(outputs().await, by_hand).await;
        ratios.push(by_streams.0.as_secs_f64() / by_hand.0.as_secs_f64());
        ours.extend(by_streams.1);
        hand.extend(by_hand.1);
    }
    ratios.sort_by(f64::total_cmp);
    println!("{count} streams to a {to}, beside by hand: {:.2} x", ratios[ROUNDS / 2]);
    for (name, mut delays) in [("streams", ours), ("by hand", hand)] {
        delays.sort();
        let (p50, p99) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
        println!("{name}: token to {to}: p50 {p50:?}, p99 {p99:?}");
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
