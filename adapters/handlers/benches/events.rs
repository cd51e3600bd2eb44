//! What an event costs with each handler, beside the plain code that does the same work.
//!
//! `cargo bench -p rappel-handlers --bench events`. The rows are measured in turn, in short rounds,
//! so that other load on the machine affects all of them alike. A figure is the median of the rounds.
//! A ratio is the median of the ratios of each round. The time is that from the first event to the
//! last one handled, with everything that waits in queues.

#![allow(clippy::unwrap_used, reason = "a bench")]

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{self, BufWriter, Write};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use futures_executor::block_on;
use rappel_core::prelude::*;
use rappel_core::record::Recorder;
use rappel_core::{HandlerOptions, Interest};
use rappel_handlers::{
    Budget, Collector, Console, Filter, FinalAnswer, Gate, JsonLines, PerTrace, Redact, Sample,
    StreamingStdout, Suited, Usage, With,
};
use rappel_tokio::Tokio;
use regex::Regex;

const TOKENS: usize = 2_000;
/// The tokens, the start and the end.
const EVENTS: usize = TOKENS + 2;
const ROUNDS: usize = 60;
const TOKEN: &str = "token ";

/// A handler of a few lines, registered for the same kinds and with the same options as the handler
/// that it is compared with.
struct Plain<F> {
    call: F,
    interest: Interest,
    options: HandlerOptions,
}

impl<F: FnMut(&Event, &EventContext) + Send + 'static> CallbackHandler for Plain<F> {
    fn interest(&self) -> Interest {
        self.interest
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        (self.call)(event, cx);
        Ok(())
    }
}

impl<F: FnMut(&Event, &EventContext) + Send + 'static> Suited for Plain<F> {
    fn options(&self) -> HandlerOptions {
        self.options.clone()
    }
}

fn plain(
    like: &impl Suited,
    call: impl FnMut(&Event, &EventContext) + Send + 'static,
) -> impl Suited {
    Plain { call, interest: like.interest(), options: like.options() }
}

/// One run, and the wait until it is handled.
async fn run(callbacks: &CallbackManager) {
    let start = LlmStart::new("model", "Tell me a joke");
    let mut run = callbacks.on_llm_start(start).await.unwrap();
    for _ in 0..TOKENS {
        run.on_llm_new_token(TOKEN).await.unwrap();
    }
    let usage = TokenUsage::new(10, 44);
    run.end(LlmResult::from_text("Why not?").with_usage(usage)).await.unwrap();
    callbacks.flush().await.unwrap();
}

/// The events of a run, as handlers get them.
fn events(callbacks: &CallbackManager) -> Vec<(Event, EventContext)> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let handler = handler_fn(move |event: &Event, cx: &EventContext| {
        let _ = sender.send((event.clone(), cx.clone()));
        Ok(())
    });
    block_on(run(&callbacks.clone().with_handler(handler)));
    receiver.try_iter().collect()
}

/// `serde_json` into a `BufWriter`.
fn json(events: impl IntoIterator<Item = (Event, EventContext)>) {
    let mut recorder = Recorder::new("bench");
    let mut out = BufWriter::with_capacity(64 * 1024, file());
    for (event, cx) in events {
        let record = recorder.record(&event, &cx);
        serde_json::to_writer(&mut out, &record).unwrap();
        out.write_all(b"\n").unwrap();
    }
    out.flush().unwrap();
}

/// The same on a thread. The events go there through a channel as long as the handler's queue.
fn json_on_a_thread(events: &[(Event, EventContext)]) {
    let (sender, receiver) = sync_channel::<(Event, EventContext)>(1024);
    let writer = thread::spawn(move || json(receiver));
    for event in events {
        sender.send(event.clone()).unwrap();
    }
    drop(sender);
    writer.join().unwrap();
}

fn file() -> std::fs::File {
    tempfile::tempfile().unwrap()
}

fn write(event: &Event) {
    if let Event::LlmNewToken(token) = event {
        black_box(io::sink()).write_all(token.token.as_bytes()).unwrap();
    }
}

struct Row {
    name: &'static str,
    call: Box<dyn FnMut()>,
    times: Vec<f64>,
}

fn row(name: &'static str, call: impl FnMut() + 'static) -> Row {
    Row { name, call: Box::new(call), times: Vec::new() }
}

fn handler(name: &'static str, callbacks: CallbackManager) -> Row {
    row(name, move || block_on(run(&callbacks)))
}

fn rows(base: &CallbackManager) -> Vec<[Row; 2]> {
    let recorded = events(base);
    let same = recorded.clone();
    let with = |handler: Box<dyn FnOnce(CallbackManager) -> CallbackManager>| handler(base.clone());
    macro_rules! pair {
        ($name:literal, $ours:expr, $what:literal, $plain:expr) => {{
            let ours = $ours;
            let plain = plain(&ours, $plain);
            [
                handler($name, with(Box::new(|it| it.with(ours)))),
                handler($what, with(Box::new(|it| it.with(plain)))),
            ]
        }};
    }
    let mut out = BufWriter::new(io::sink());
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut kept = Vec::new();
    let mut open: HashMap<RunId, usize> = HashMap::new();
    let (mut text, mut is_found) = (String::new(), false);
    let regex = Regex::new("sk-[a-z]{4,8}").unwrap();
    let answer = async |_: &Event, _: &EventContext| Ok(());
    vec![
        [
            handler("JsonLines", base.clone().with(JsonLines::to(file()))),
            row("serde_json into a BufWriter on a thread", move || json_on_a_thread(&recorded)),
        ],
        [
            handler("JsonLines", base.clone().with(JsonLines::to(file()))),
            row("the same without a thread", move || json(same.iter().cloned())),
        ],
        pair!("StreamingStdout", StreamingStdout::to(io::sink()), "write_all", move |event, _| {
            if let Event::LlmNewToken(token) = event {
                out.write_all(token.token.as_bytes()).unwrap();
            }
        }),
        pair!(
            "Console",
            Console::to(io::sink()),
            "a line for each start and end",
            move |event, cx| {
                if event.kind().is_start() || event.kind().is_end() {
                    writeln!(io::sink(), "{} {} {:?}", cx.id(), cx.name(), event.kind()).unwrap();
                }
            }
        ),
        pair!("Usage", Usage::new(), "a sum by model", move |event, cx| {
            if let Event::LlmEnd(end) = event {
                let tokens = end.result.usage.as_ref().map_or(0, |it| it.prompt_tokens);
                *counts.entry(cx.name().to_owned()).or_default() += tokens;
            }
        }),
        pair!("Collector", Collector::new(10), "a Vec of ends", move |event, _| {
            if event.kind().is_end() {
                kept.clear();
                kept.push(event.clone());
            }
        }),
        pair!(
            "Filter",
            Filter::new(StreamingStdout::to(io::sink())).names(["model"]),
            "write_all if the name fits",
            |event, cx| {
                if cx.name() == "model" {
                    write(event);
                }
            }
        ),
        pair!(
            "Sample",
            Sample::new(StreamingStdout::to(io::sink()), 1.0),
            "write_all if the id fits",
            |event, cx| {
                if cx.root_id().as_bytes()[0] < 255 {
                    write(event);
                }
            }
        ),
        pair!(
            "PerTrace",
            PerTrace::new(|_: &RunInfo| handler_fn(|_: &Event, _: &EventContext| Ok(()))),
            "a map of runs",
            move |event, cx| {
                *open.entry(cx.root_id()).or_insert(0) += 1;
                if event.kind().is_end() {
                    open.remove(&cx.id());
                }
            }
        ),
        pair!(
            "Redact",
            Redact::new(StreamingStdout::to(io::sink())).pattern("sk-[a-z]{4,8}").unwrap(),
            "Regex::replace_all and write_all",
            move |event, _| {
                if let Event::LlmNewToken(token) = event {
                    io::sink().write_all(regex.replace_all(&token.token, "").as_bytes()).unwrap();
                }
            }
        ),
        pair!(
            "FinalAnswer",
            FinalAnswer::new(StreamingStdout::to(io::sink())).marker("token token"),
            "find, then write_all",
            move |event, _| {
                if let Event::LlmNewToken(token) = event {
                    if is_found {
                        write(event);
                    } else {
                        text.push_str(&token.token);
                        is_found = text.contains("token token");
                    }
                }
                if event.kind().is_end() {
                    text.clear();
                    is_found = false;
                }
            }
        ),
        [
            handler("Gate", base.clone().with(Gate::new(answer))),
            handler("no handler", base.clone()),
        ],
        [
            handler("Budget", base.clone().with(Budget::new().tokens(u64::MAX))),
            handler("no handler", base.clone()),
        ],
    ]
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let mut pairs = rows(&CallbackManager::new(Tokio::current()));
    for round in 0..ROUNDS + 5 {
        for row in pairs.iter_mut().flatten() {
            let start = Instant::now();
            (row.call)();
            if round >= 5 {
                row.times.push(start.elapsed().as_secs_f64() * 1e9 / EVENTS as f64);
            }
        }
    }
    println!("| handler | ns an event | plain code | ns an event | ratio |\n|---|---|---|---|---|");
    for [ours, plain] in &mut pairs {
        let mut ratios: Vec<f64> =
            ours.times.iter().zip(&plain.times).map(|(ours, plain)| ours / plain).collect();
        let (name, what, ratio) = (ours.name, plain.name, median(&mut ratios));
        let (ours, plain) = (median(&mut ours.times), median(&mut plain.times));
        println!("| `{name}` | {ours:.0} | {what} | {plain:.0} | {ratio:.2} |");
    }
}
