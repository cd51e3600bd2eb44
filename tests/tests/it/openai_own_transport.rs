//! A transport of the application's own. It only takes requests and returns status, headers and
//! bytes.

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use rappel_core::prelude::*;
use rappel_core::runtime::BoxFuture;
use rappel_openai::{BodyStream, ChatOpenAi, OpenAiError, Phase, Transport};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::MARKED_KEY;
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;
use rappel_tests::virtual_time::VirtualTime;

use bytes::Bytes;

type Answer = Result<http::Response<BodyStream>, OpenAiError>;

/// Answers each request with the function's answer to its number, and records the requests.
#[derive(Clone)]
struct Scripted {
    answer: fn(usize) -> Option<Answer>,
    requests: Arc<Mutex<Vec<http::Request<Bytes>>>>,
}

impl Scripted {
    fn new(answer: fn(usize) -> Option<Answer>) -> Self {
        Self { answer, requests: Arc::default() }
    }
}

impl Transport for Scripted {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Answer> {
        let mut requests = self.requests.lock().unwrap();
        requests.push(request);
        let answer = (self.answer)(requests.len());
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

/// Answers with a packet of 20,000 such lines.
struct Lines(&'static str);

impl Transport for Lines {
    fn send(&self, _: http::Request<Bytes>) -> BoxFuture<'_, Answer> {
        let packet = Bytes::from(self.0.repeat(20_000));
        let mut answer = response([]);
        *answer.body_mut() = stream::iter([Ok(packet)]).boxed();
        Box::pin(std::future::ready(Ok(answer)))
    }
}

const CHUNK: &str = "data: {\"choices\": [{\"delta\": {\"content\": \"hi\"}}]}\n\n";

fn response(
    parts: impl IntoIterator<Item = Result<&'static str, OpenAiError>>,
) -> http::Response<BodyStream> {
    let parts: Vec<_> = parts.into_iter().map(|part| part.map(Bytes::from)).collect();
    let mut response = http::Response::new(stream::iter(parts).boxed() as BodyStream);
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    response
}

/// Generates with streaming. Returns the result, and the log of a handler.
async fn generate(rt: &Rt, transport: Scripted) -> (Result<LlmResult, RunError>, Vec<String>) {
    let log = Log::new();
    let time = VirtualTime::new();
    let callbacks = rt.callbacks().with_handler(log.handler());
    let chat = ChatOpenAi::builder()
        .model("m")
        .base_url("https://models.invalid/v1")
        .api_key(MARKED_KEY)
        .streaming(true);
    let chat =
        chat.transport(transport).timer(time.clone()).callbacks(callbacks.clone()).build().unwrap();
    let generation = async { chat.invoke("hi").await };
    let result = futures_lite::future::or(generation, async {
        time.fly().await;
        unreachable!("`fly` never ends")
    })
    .await;
    callbacks.flush().await.unwrap();
    (result, log.lines())
}

const START: &str = "chat_model_start: Human: hi";

on_every_runtime! {
    async fn it_gets_the_whole_request_and_the_retries(rt) {
        let transport = Scripted::new(|number| {
            Some(match number {
                1 => Err(OpenAiError::unreachable("no network")),
                2 => {
                    let mut busy = response([]);
                    *busy.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                    Ok(busy)
                }
                _ => Ok(response([Ok(CHUNK), Ok("data: [DONE]\n\n")])),
            })
        });
        let (result, lines) = generate(&rt, transport.clone()).await;
        assert_eq!(result.unwrap().text(), "hi");
        assert_eq!(lines, [START, "retry: 1", "retry: 2", "token: hi", "llm_end: hi"]);
        let requests = transport.requests.lock().unwrap();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[0].uri(), "https://models.invalid/v1/chat/completions");
        assert_eq!(requests[0].headers()["authorization"], format!("Bearer {MARKED_KEY}"));
        assert!(requests[0].headers()["authorization"].is_sensitive());
        let sent: rappel_core::Value = serde_json::from_slice(requests[2].body()).unwrap();
        assert_eq!((&sent["model"], &sent["stream"]), (&"m".into(), &true.into()));
    }

    async fn an_error_of_its_body_has_the_partial_result(rt) {
        let transport =
            Scripted::new(|_| Some(Ok(response([Ok(CHUNK), Err(OpenAiError::cut("unplugged"))]))));
        let (result, lines) = generate(&rt, transport).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error.cause(), Some(OpenAiError::Cut { source: Some(_), .. })),
            "{error:?}"
        );
        assert_eq!(lines, [START, "token: hi", "llm_error: failed: hi"]);
    }

    async fn its_own_errors_are_not_retried(rt) {
        let (result, lines) =
            generate(&rt, Scripted::new(|_| Some(Err(OpenAiError::transport("bad certificate")))))
                .await;
        let error = result.unwrap_err();
        assert!(matches!(error.cause(), Some(OpenAiError::Transport { .. })), "{error:?}");
        assert_eq!(lines, [START, "llm_error: failed: "]);
    }

    async fn a_silent_transport_times_out(rt) {
        let (result, _) = generate(&rt, Scripted::new(|_| None)).await;
        assert!(matches!(
            result.unwrap_err().cause(),
            Some(OpenAiError::TimedOut { phase: Phase::FirstByte, .. })
        ));

        let stalls = Scripted::new(|_| {
            let mut answer = response([]);
            *answer.body_mut() =
                stream::iter([Ok(Bytes::from(CHUNK))]).chain(stream::pending()).boxed();
            Some(Ok(answer))
        });
        let (result, lines) = generate(&rt, stalls).await;
        assert!(matches!(
            result.unwrap_err().cause(),
            Some(OpenAiError::TimedOut { phase: Phase::Chunk, .. })
        ));
        assert_eq!(lines, [START, "token: hi", "llm_error: failed: hi"]);
    }

    /// The body is always ready, but the stream yields and ends.
    async fn an_endless_body_is_an_error(rt) {
        let flood = Scripted::new(|_| {
            let mut answer = response([]);
            *answer.body_mut() =
                stream::repeat_with(|| Ok(Bytes::from_static(b": noise\n\n"))).boxed();
            Some(Ok(answer))
        });
        let (result, _) = generate(&rt, flood).await;
        assert!(matches!(result.unwrap_err().cause(), Some(OpenAiError::NoEvents { .. })));
    }

    /// One packet has nothing but blank lines. Between the lines other tasks run, and the time limit
    /// of the call applies.
    async fn a_packet_of_blank_lines_does_not_keep_the_thread(rt) {
        for lines in ["data:\n", "\n", ": noise\n", "data:\n\n", "event: ping\ndata: {}\n\n"] {
            let transport = Lines(lines);
            let time = VirtualTime::new();
            let chat = ChatOpenAi::builder()
                .model("m")
                .base_url("https://models.invalid/v1")
                .streaming(true)
                .max_retries(0)
                .total_timeout(Duration::from_secs(3))
                .transport(transport)
                .timer(time.clone())
                .callbacks(rt.callbacks())
                .build()
                .unwrap();
            let another_task = std::future::poll_fn(|cx| {
                time.advance(Duration::from_millis(200));
                cx.waker().wake_by_ref();
                Poll::Pending
            });
            let generation = async { chat.invoke("hi").await };
            let error = futures_lite::future::or(generation, another_task).await.unwrap_err();
            assert!(
                matches!(error.cause(), Some(OpenAiError::TimedOut { phase: Phase::Total, .. })),
                "{lines:?}: {error:?}"
            );
        }
    }
}
