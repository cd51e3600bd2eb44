//! A collector that takes OTLP over HTTP, and misbehaves as it is told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// What the collector does with a request. Without one it accepts.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Accept,
    Status(u16, Option<u64>),
    Partial(i64, &'static str),
    /// The connection is cut before the request is read.
    CutBeforeReading,
    /// The request is kept, and the connection is cut without an answer.
    CutAfterReading,
    /// The request is kept, and there is no answer until the collector is dropped.
    Stall,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) spans: Vec<Span>,
    pub(crate) service: Option<String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    script: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<Request>>,
    arrived: Condvar,
    stopped: Mutex<bool>,
    stop: Condvar,
}

pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    ended: Receiver<()>,
}

pub(crate) trait Stream: Read + Write + Send + 'static {}
impl<S: Read + Write + Send + 'static> Stream for S {}

type Wrap = Arc<dyn Fn(TcpStream) -> Box<dyn Stream> + Send + Sync>;

impl Collector {
    pub(crate) fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::start_with(script, Arc::new(|stream| Box::new(stream)))
    }

    pub(crate) fn start_with(script: impl IntoIterator<Item = Answer>, wrap: Wrap) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::serve(listener, script, wrap)
    }

    /// A collector at the address of one that was stopped.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        Self::serve(listener, [], Arc::new(|stream| Box::new(stream)))
    }

    fn serve(listener: TcpListener, script: impl IntoIterator<Item = Answer>, wrap: Wrap) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        *state.script.lock().unwrap() = script.into_iter().collect();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = channel();
        let (of_thread, kept) = (state.clone(), connections.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if *of_thread.stopped.lock().unwrap() {
                    break;
                }
                let Ok(stream) = stream else { continue };
                kept.lock().unwrap().push(stream.try_clone().unwrap());
                let (state, wrap, end) = (of_thread.clone(), wrap.clone(), end.clone());
                thread::spawn(move || {
                    let _end: Sender<()> = end;
                    let raw = stream.try_clone().unwrap();
                    serve(wrap(stream), &raw, &state);
                    let _ = raw.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { address, state, connections, ended }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Waits until that many requests have been read.
    pub(crate) fn wait_for(&self, requests: usize) {
        let seen = self.state.requests.lock().unwrap();
        let limit = std::time::Duration::from_secs(60);
        let seen = self.state.arrived.wait_timeout_while(seen, limit, |seen| seen.len() < requests);
        assert!(!seen.unwrap().1.timed_out(), "the requests did not come");
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.requests().into_iter().flat_map(|request| request.spans).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        *self.state.stopped.lock().unwrap() = true;
        self.state.stop.notify_all();
        // The listener's thread sees that it is to end.
        let _ = TcpStream::connect(self.address);
        for connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        while self.ended.recv().is_ok() {}
    }
}

fn serve(stream: Box<dyn Stream>, raw: &TcpStream, state: &State) {
    let mut stream = BufReader::new(stream);
    loop {
        if matches!(state.script.lock().unwrap().front(), Some(Answer::CutBeforeReading)) {
            // A request may be under way: what is not read makes the kernel reset the connection.
            let mut byte = [0];
            if raw.peek(&mut byte).is_ok_and(|n| n > 0) {
                state.script.lock().unwrap().pop_front();
            }
            return;
        }
        let Some(request) = read(&mut stream) else { return };
        let answer = state.script.lock().unwrap().pop_front().unwrap_or(Answer::Accept);
        state.requests.lock().unwrap().push(request);
        state.arrived.notify_all();
        let (status, extra, body) = match answer {
            Answer::Accept => (200, String::new(), Vec::new()),
            Answer::Status(status, after) => {
                let after = after.map_or(String::new(), |s| format!("retry-after: {s}\r\n"));
                (status, after, Vec::new())
            }
            Answer::Partial(rejected_spans, message) => {
                let error_message = message.into();
                let partial_success =
                    Some(ExportTracePartialSuccess { rejected_spans, error_message });
                let answer = ExportTraceServiceResponse { partial_success };
                (200, String::new(), answer.encode_to_vec())
            }
            Answer::CutBeforeReading | Answer::CutAfterReading => return,
            Answer::Stall => {
                let stopped = state.stopped.lock().unwrap();
                drop(state.stop.wait_while(stopped, |stopped| !*stopped).unwrap());
                return;
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/x-protobuf\r\n{extra}content-length: {}\r\n\r\n",
            body.len()
        );
        let stream = stream.get_mut();
        let written = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        if written.and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

fn read(stream: &mut BufReader<Box<dyn Stream>>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let mut body = vec![0; header("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    if header("content-encoding").as_deref() == Some("gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).ok()?;
        body = plain;
    }
    let (mut spans, mut service) = (Vec::new(), None);
    if path == "/v1/traces" {
        let request = ExportTraceServiceRequest::decode(&*body).unwrap();
        for of_resource in request.resource_spans {
            let attributes = of_resource.resource.unwrap().attributes;
            let name = attributes.into_iter().find(|kv| kv.key == "service.name");
            service = name.and_then(|kv| crate::scene::text(&kv.value.unwrap()));
            spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    Some(Request { path, headers, spans, service })
}
