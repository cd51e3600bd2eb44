//! Every wait for a server has a limit. The tests use a virtual timer.

use std::time::Duration;

use futures_channel::mpsc::{UnboundedReceiver, unbounded};
use futures_lite::future::or;
use futures_util::StreamExt;
use rappel_core::prelude::*;
use rappel_openai::{ChatOpenAi, ChatOpenAiBuilder, OpenAiError, Phase};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Fault, MARKED_KEY, Script, Server};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;
use rappel_tests::virtual_time::VirtualTime;

const START: &str = "chat_model_start: Human: hi";

fn answering() -> Script {
    Script::tokens(["a", "b", "c"])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A call, a receiver of its tokens, and the log of its handler.
struct Call {
    time: VirtualTime,
    callbacks: CallbackManager,
    tokens: UnboundedReceiver<()>,
    log: Log,
}

impl Call {
    fn new(rt: &Rt) -> Self {
        let (sender, tokens) = unbounded();
        let log = Log::new();
        let callbacks =
            rt.callbacks().with_handler(log.handler()).with_handler(handler_fn(move |event, _| {
                if let Event::LlmNewToken(_) = event {
                    sender.unbounded_send(())?;
                }
                Ok(())
            }));
        Self { time: VirtualTime::new(), callbacks, tokens, log }
    }

    fn model(&self, base_url: String) -> ChatOpenAiBuilder {
        let model = ChatOpenAi::builder()
            .model("m")
            .api_key(MARKED_KEY)
            .base_url(base_url)
            .callbacks(self.callbacks.clone());
        model.max_retries(0).timer(self.time.clone())
    }

    /// Generates. The time stands still until that many tokens have arrived, and flies from then
    /// on.
    async fn fails(
        mut self,
        chat: ChatOpenAiBuilder,
        tokens: usize,
        phase: Phase,
        limit: Duration,
    ) -> Vec<String> {
        let chat = chat.build().unwrap();
        let generation = async { chat.invoke("hi").await.map(|_| ()) };
        let clock = async {
            (&mut self.tokens).take(tokens).collect::<Vec<_>>().await;
            self.time.fly().await;
            Ok(())
        };
        let error = or(generation, clock).await.unwrap_err();
        let Some(OpenAiError::TimedOut { phase: was, limit: of, .. }) = error.cause() else {
            panic!("{error:?}");
        };
        assert_eq!((*was, *of), (phase, limit));
        self.callbacks.flush().await.unwrap();
        self.log.lines()
    }
}

on_every_runtime! {
    async fn a_handshake_that_never_ends_times_out(rt) {
        // The TLS handshake waits for this listener, which never accepts.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/v1", silent.local_addr().unwrap());
        let call = Call::new(&rt);
        let chat = call.model(url).connect_timeout(seconds(3));
        assert_eq!(
            call.fails(chat, 0, Phase::Connect, seconds(3)).await,
            [START, "llm_error: failed: "]
        );
    }

    async fn an_answer_that_never_begins_times_out(rt) {
        for streaming in [true, false] {
            let server = Server::start(answering().fault(Fault::StallBeforeHeaders)).unwrap();
            let call = Call::new(&rt);
            let chat =
                call.model(server.base_url()).streaming(streaming).first_byte_timeout(seconds(20));
            // Otherwise the time might fly while the connection is opened.
            let chat = chat.connect_timeout(None);
            assert_eq!(
                call.fails(chat, 0, Phase::FirstByte, seconds(20)).await,
                [START, "llm_error: failed: "]
            );
        }
    }

    async fn a_stream_that_stalls_times_out(rt) {
        let server = Server::start(answering().fault(Fault::Stall(3))).unwrap();
        let call = Call::new(&rt);
        let chat = call.model(server.base_url()).streaming(true).chunk_timeout(seconds(30));
        let lines = call.fails(chat, 3, Phase::Chunk, seconds(30)).await;
        assert_eq!(lines, [START, "token: ", "token: a", "token: b", "llm_error: failed: ab"]);
    }

    async fn a_whole_answer_that_stalls_times_out(rt) {
        let server = Server::start(answering().fault(Fault::Stall(0))).unwrap();
        let call = Call::new(&rt);
        let chat = call.model(server.base_url()).chunk_timeout(seconds(30));
        let chat = chat.connect_timeout(None).first_byte_timeout(None).total_timeout(None);
        assert_eq!(
            call.fails(chat, 0, Phase::Chunk, seconds(30)).await,
            [START, "llm_error: failed: "]
        );
    }

    async fn the_total_applies_without_a_chunk_timeout(rt) {
        let server = Server::start(answering().gated().fault(Fault::Stall(2))).unwrap();
        server.release(2);
        let call = Call::new(&rt);
        let chat = call
            .model(server.base_url())
            .streaming(true)
            .chunk_timeout(None)
            .total_timeout(seconds(60));
        let lines = call.fails(chat, 2, Phase::Total, seconds(60)).await;
        assert_eq!(lines, [START, "token: ", "token: a", "llm_error: failed: a"]);
    }

    /// Each chunk arrives in time, but not the whole answer.
    async fn a_slow_body_exceeds_the_total(rt) {
        let server = Server::start(answering().gated()).unwrap();
        let mut call = Call::new(&rt);
        let chat = call
            .model(server.base_url())
            .streaming(true)
            .chunk_timeout(seconds(30))
            .total_timeout(seconds(100))
            .build()
            .unwrap();
        let generation = rt.go(async move { chat.invoke("hi").await });
        server.release(1);
        call.tokens.next().await;
        for _ in 0..3 {
            call.time.until_asleep().await;
            call.time.advance(seconds(29));
            server.release(1);
            call.tokens.next().await;
        }
        call.time.until_asleep().await;
        call.time.advance(seconds(29));
        let error = generation.await.unwrap_err();
        assert!(
            matches!(error.cause(), Some(OpenAiError::TimedOut { phase: Phase::Total, .. })),
            "{error:?}"
        );
        call.callbacks.flush().await.unwrap();
        assert_eq!(
            call.log.lines(),
            [START, "token: ", "token: a", "token: b", "token: c", "llm_error: failed: abc"]
        );
    }

    /// The time between two chunks is limited for the server, and not for the reader.
    async fn a_slow_reader_does_not_time_out(rt) {
        let server = Server::start(answering()).unwrap();
        let call = Call::new(&rt);
        let chat = call
            .model(server.base_url())
            .chunk_timeout(seconds(30))
            .total_timeout(None)
            .build()
            .unwrap();
        let mut stream = chat.stream(vec![Message::human("hi")]).await.unwrap();
        let mut text = String::new();
        while let Some(chunk) = stream.next().await {
            text.push_str(&chunk.unwrap().text);
            call.time.advance(seconds(3600));
        }
        assert_eq!(text, "abc");
    }
}
