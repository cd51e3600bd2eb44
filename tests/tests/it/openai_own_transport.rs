//! A transport of the application's own: requests go in, and status, headers and bytes come out; all else stays as it is.

use std::sync::{Arc, Mutex};

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

/// Answers each request with what the function makes of its number, and keeps what it was sent.
#[derive(Clone)]
struct Scripted {
    answer: fn(usize) -> Option<Answer>,
    requests: Arc<Mutex<Vec<http::Request<Bytes>>>>,
}

impl Scripted {
    fn new(answer: fn(usize) -> Option<Answer>) -> Self {
        Self {
            answer,
            requests: Arc::default(),
        }
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

const CHUNK: &str = "data: {\"choices\": [{\"delta\": {\"content\": \"hi\"}}]}\n\n";

fn response(parts: impl IntoIterator<Item = Result<&'static str, OpenAiError>>) -> http::Response<BodyStream> {
    let parts: Vec<_> = parts.into_iter().map(|part| part.map(Bytes::from)).collect();
    let mut response = http::Response::new(stream::iter(parts).boxed() as BodyStream);
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    response
}

/// Generates with streaming, and gives what came of it and what the handlers saw.
async fn generate(rt: &Rt, transport: Scripted) -> (Result<LlmResult, RunError>, Vec<String>) {
    let log = Log::new();
    let time = VirtualTime::new();
    let callbacks = rt.callbacks().with_handler(log.handler());
    let chat = ChatOpenAi::builder()
        .model("m")
        .base_url("https://models.invalid/v1")
        .api_key(MARKED_KEY)
        .streaming(true);
    let chat = chat
        .transport(transport)
        .timer(time.clone())
        .callbacks(callbacks.clone())
        .build()
        .unwrap();
    let generation = async { chat.generate(vec![vec![Message::human("hi")]]).await.remove(0) };
    let result = futures_lite::future::or(generation, async {
        time.fly().await;
        unreachable!("it never ends")
    })
    .await;
    callbacks.flush().await;
    (result, log.lines())
}

const START: &str = "chat_model_start: Human: hi";

on_every_runtime! {
    async fn it_is_given_the_whole_request_and_asked_again(rt) {
        let transport = Scripted::new(|number| Some(match number {
            1 => Err(OpenAiError::unreachable("no network")),
            2 => {
                let mut busy = response([]);
                *busy.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                Ok(busy)
            }
            _ => Ok(response([Ok(CHUNK), Ok("data: [DONE]\n\n")])),
        }));
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

    async fn what_breaks_off_is_told_with_what_there_was(rt) {
        let transport = Scripted::new(|_| Some(Ok(response([Ok(CHUNK), Err(OpenAiError::cut("unplugged"))]))));
        let (result, lines) = generate(&rt, transport).await;
        let error = result.unwrap_err();
        assert!(matches!(error.cause(), Some(OpenAiError::Cut { source: Some(_), .. })), "{error:?}");
        assert_eq!(lines, [START, "token: hi", "llm_error: failed: hi"]);
    }

    async fn what_it_says_of_itself_is_not_tried_again(rt) {
        let (result, lines) = generate(&rt, Scripted::new(|_| Some(Err(OpenAiError::transport("bad certificate"))))).await;
        let error = result.unwrap_err();
        assert!(matches!(error.cause(), Some(OpenAiError::Transport { .. })), "{error:?}");
        assert_eq!(lines, [START, "llm_error: failed: "]);
    }

    async fn its_silence_has_a_limit_too(rt) {
        let (result, _) = generate(&rt, Scripted::new(|_| None)).await;
        assert!(matches!(result.unwrap_err().cause(), Some(OpenAiError::TimedOut { phase: Phase::FirstByte, .. })));

        let stalls = Scripted::new(|_| {
            let mut answer = response([]);
            *answer.body_mut() = stream::iter([Ok(Bytes::from(CHUNK))]).chain(stream::pending()).boxed();
            Some(Ok(answer))
        });
        let (result, lines) = generate(&rt, stalls).await;
        assert!(matches!(result.unwrap_err().cause(), Some(OpenAiError::TimedOut { phase: Phase::Chunk, .. })));
        assert_eq!(lines, [START, "token: hi", "llm_error: failed: hi"]);
    }

    /// It never waits, and still the stream does not keep its thread for itself, nor goes on for ever.
    async fn its_flood_has_a_limit_too(rt) {
        let flood = Scripted::new(|_| {
            let mut answer = response([]);
            *answer.body_mut() = stream::repeat_with(|| Ok(Bytes::from_static(b": noise\n\n"))).boxed();
            Some(Ok(answer))
        });
        let (result, _) = generate(&rt, flood).await;
        assert!(matches!(result.unwrap_err().cause(), Some(OpenAiError::NoEvents { .. })));
    }
}
