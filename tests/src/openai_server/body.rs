//! The body of an answer.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream;
use hyper::body::Frame;
use serde_json::Value;

use super::State;
use super::answer::error;
use super::script::{Fault, Packets, Script};

/// One step of a body.
pub(super) enum Step {
    Send(Bytes),
    /// Waits for a permit of the owner of a gated server.
    Gate,
    /// Waits that long.
    Pause(Duration),
    /// Stalls forever.
    Stall,
    /// Closes the connection.
    Cut,
    /// Sends only the first half of the next bytes and then resets the connection.
    Break,
    /// Sends those bytes forever.
    Repeat(Bytes),
}

impl Step {
    /// The number of bytes that it sends.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Send(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

/// A body that executes the steps in order.
pub(super) fn body(
    state: Arc<State>,
    steps: impl IntoIterator<Item = Step>,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    let run = Run { state, steps: steps.into_iter().collect(), in_last: false };
    stream::unfold(run, |mut run| async move {
        loop {
            // Without a yield, hyper would send everything in one packet, and discard all of it on
            // a cut.
            tokio::task::yield_now().await;
            match run.next() {
                None => return None,
                Some(Step::Send(bytes)) => return Some((Ok(Frame::data(bytes)), run)),
                Some(Step::Gate) => {
                    if let Ok(permit) = run.state.permits.acquire().await {
                        permit.forget();
                    }
                }
                Some(Step::Pause(time)) => tokio::time::sleep(time).await,
                Some(Step::Stall) => std::future::pending().await,
                Some(Step::Break) => run.state.break_next_write.store(true, Ordering::Relaxed),
                Some(Step::Repeat(bytes)) => {
                    run.steps.push_front(Step::Repeat(bytes.clone()));
                    return Some((Ok(Frame::data(bytes)), run));
                }
                Some(Step::Cut) => {
                    return Some((Err(io::ErrorKind::ConnectionAborted.into()), run));
                }
            }
        }
    })
}

/// A body in progress. If it is dropped before its last step, the client has disconnected.
struct Run {
    state: Arc<State>,
    steps: VecDeque<Step>,
    in_last: bool,
}

impl Run {
    fn next(&mut self) -> Option<Step> {
        let step = self.steps.pop_front();
        // A step that never ends is never the last one.
        self.in_last =
            self.steps.is_empty() && !matches!(step, Some(Step::Stall | Step::Repeat(_)));
        step
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.in_last {
            self.state.note(|seen| seen.broken_off += 1);
        }
    }
}

/// The steps of a whole answer.
pub(super) fn whole(script: &Script, fault: Option<&Fault>, answer: &Value) -> Vec<Step> {
    let mut json = answer.to_string();
    let mut steps = Vec::new();
    if script.gated {
        steps.push(Step::Gate);
    }
    match fault {
        Some(Fault::Cut(_) | Fault::EndsEarly(_)) => {
            json.truncate(json.len() / 2);
            steps.extend([Step::Send(json.into()), Step::Cut]);
        }
        Some(Fault::Reset(_)) => steps.extend([Step::Break, Step::Send(json.into()), Step::Cut]),
        Some(Fault::Gzip) => steps.push(Step::Send(GZIP.into())),
        Some(Fault::EndlessComments(_)) => steps.push(Step::Repeat(" ".repeat(1000).into())),
        Some(Fault::Stall(_)) => steps.push(Step::Stall),
        Some(Fault::BrokenJson(_)) => steps.push(Step::Send(json.replace(':', "").into())),
        Some(Fault::ErrorEvent(_)) => steps.push(Step::Send(overloaded().to_string().into())),
        _ => steps.push(Step::Send(json.into())),
    }
    steps
}

/// The steps of a stream of these events.
pub(super) fn stream_of(
    script: &Script,
    fault: Option<&Fault>,
    mut events: Vec<String>,
) -> Vec<Step> {
    let mut end = Vec::new();
    match fault {
        Some(&Fault::Cut(after)) => {
            events.truncate(after);
            end.push(Step::Cut);
        }
        Some(&Fault::Reset(after)) => {
            let half = events.get(after).map(|event| frame(script, event)).unwrap_or_default();
            events.truncate(after);
            end.extend(script.gated.then_some(Step::Gate));
            end.extend([Step::Break, Step::Send(half.into()), Step::Cut]);
        }
        Some(&Fault::EndlessComments(after)) => {
            events.truncate(after);
            end.push(Step::Repeat(": still there\n\n".repeat(100).into()));
        }
        Some(Fault::Gzip) => return vec![Step::Send(GZIP.into())],
        Some(&Fault::EndsEarly(after)) => {
            events.truncate(after);
        }
        Some(&Fault::Stall(after)) => {
            events.truncate(after);
            end.push(Step::Stall);
        }
        Some(&Fault::BrokenJson(after)) => {
            insert(&mut events, after, "{\"choices\": [{\"delta\": {\"content\": ".to_owned());
        }
        Some(&Fault::Oversized(after, bytes)) => {
            insert(&mut events, after, format!("{{\"x\": \"{}\"}}", "x".repeat(bytes)));
        }
        Some(&Fault::ErrorEvent(after)) => {
            events.truncate(after);
            events.push(overloaded().to_string());
        }
        _ => {}
    }
    let framed: Vec<String> = events.iter().map(|event| frame(script, event)).collect();
    let mut steps = Vec::new();
    for packet in packets(script.packets, &framed) {
        if script.gated {
            steps.push(Step::Gate);
        }
        steps.extend(script.pace.map(Step::Pause));
        steps.push(Step::Send(packet));
    }
    steps.extend(end);
    steps
}

/// An empty text, compressed with gzip.
const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";

fn overloaded() -> Value {
    error("server_error", "overloaded", "the model is overloaded")
}

fn insert(events: &mut Vec<String>, after: usize, event: String) {
    events.insert(after.min(events.len()), event);
}

/// An event as it is sent.
fn frame(script: &Script, data: &str) -> String {
    let frame = if script.comments {
        format!(": keep-alive\n\n\nid: 7\nretry: 3000\n: again\ndata: {data}\n\n")
    } else {
        format!("data: {data}\n\n")
    };
    if script.crlf { frame.replace('\n', "\r\n") } else { frame }
}

fn packets(packets: Packets, events: &[String]) -> Vec<Bytes> {
    match packets {
        Packets::Events(events_each) => {
            events.chunks(events_each.get()).map(|chunk| Bytes::from(chunk.concat())).collect()
        }
        Packets::Bytes(bytes_each) => events
            .concat()
            .as_bytes()
            .chunks(bytes_each.get())
            .map(Bytes::copy_from_slice)
            .collect(),
    }
}
