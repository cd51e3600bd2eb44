//! Whatever a server does wrong is an error of its own, and one `on_llm_error` with the partial result.

use futures_util::StreamExt;
use rappel_core::prelude::*;
use rappel_openai::{ChatOpenAi, OpenAiError};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Fault, MARKED_KEY, Script, Server};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

type Expect = fn(&OpenAiError) -> bool;

const START: &str = "chat_model_start: Human: hi";

fn answering() -> Script {
    Script::tokens(["a", "b", "c"])
}

/// Generates once, and checks the error, and what both kinds of handler saw of it.
async fn check(rt: &Rt, chat: rappel_openai::ChatOpenAiBuilder, expect: Expect, tokens: &[&str], what: &str) {
    let (sync, asynchronous) = (Log::new(), Log::new());
    let callbacks = rt
        .callbacks()
        .with_handler(sync.handler())
        .with_async_handler(asynchronous.async_handler());
    let chat = chat
        .model("m")
        .api_key(MARKED_KEY)
        .max_retries(0)
        .callbacks(callbacks.clone())
        .build()
        .unwrap();
    let error = chat.generate(vec![vec![Message::human("hi")]]).await.remove(0).unwrap_err();
    let cause = error.cause::<OpenAiError>();
    assert!(cause.is_some_and(expect), "{what}: {error:?}");
    callbacks.flush().await;

    let mut expected = vec![START.to_owned()];
    expected.extend(tokens.iter().map(|token| format!("token: {token}")));
    expected.push(format!("llm_error: failed: {}", tokens.concat()));
    assert_eq!(sync.lines(), expected, "{what}");
    assert_eq!(asynchronous.lines(), expected, "{what}");
}

on_every_runtime! {
    async fn in_a_stream(rt) {
        let faults: [(Fault, Expect, &[&str]); 18] = [
            (Fault::Status(400, r#"{"error": {"message": "no", "code": "bad"}}"#.into()), |e| matches!(e, OpenAiError::Status { status: 400, message, .. } if message == "no"), &[]),
            (Fault::Status(429, "slow down".into()), |e| matches!(e, OpenAiError::Status { status: 429, retry_after: Some(_), .. }), &[]),
            (Fault::Status(500, "<html>oops</html>".into()), |e| matches!(e, OpenAiError::Status { status: 500, .. }), &[]),
            (Fault::CutBeforeHeaders, |e| matches!(e, OpenAiError::ClosedBeforeResponse { .. }), &[]),
            (Fault::WrongContentType, |e| matches!(e, OpenAiError::ContentType { .. }), &[]),
            (Fault::Cut(0), |e| matches!(e, OpenAiError::Cut { .. }), &[]),
            (Fault::Cut(3), |e| matches!(e, OpenAiError::Cut { .. }), &["", "a", "b"]),
            (Fault::EndsEarly(2), |e| matches!(e, OpenAiError::Cut { .. }), &["", "a"]),
            (Fault::BrokenJson(2), |e| matches!(e, OpenAiError::InvalidEvent { .. }), &["", "a"]),
            (Fault::ErrorEvent(4), |e| matches!(e, OpenAiError::Reported { message, .. } if message == "the model is overloaded"), &["", "a", "b", "c"]),
            (Fault::Oversized(1, 4 << 20), |e| matches!(e, OpenAiError::EventTooLarge { .. }), &[""]),
            (Fault::EndsEarly(0), |e| matches!(e, OpenAiError::Cut { .. }), &[]),
            (Fault::Gzip, |e| matches!(e, OpenAiError::Encoded { encoding, .. } if encoding == "gzip"), &[]),
            (Fault::LongHead(100_000), |e| matches!(e, OpenAiError::HeaderTooLarge { limit: 65_536, .. }), &[]),
            (Fault::Reset(0), |e| matches!(e, OpenAiError::Cut { source: Some(_), .. }), &[]),
            (Fault::EndlessComments(2), |e| matches!(e, OpenAiError::NoEvents { .. }), &["", "a"]),
            // The answer's end, and a part of the usage before it, are not sent.
            (Fault::LyingLength(-100), |e| matches!(e, OpenAiError::Cut { .. }), &["", "a", "b", "c", ""]),
            (Fault::Redirect("https://elsewhere.invalid/v1?ticket=1".into()), |e| matches!(e, OpenAiError::Redirected { status: 307, location: Some(to), .. } if to == "https://elsewhere.invalid/v1"), &[]),
        ];
        for (fault, expect, tokens) in faults {
            let what = format!("{fault:?}").chars().take(80).collect::<String>();
            let server = Server::start(answering().fault(fault)).unwrap();
            let chat = ChatOpenAi::builder().base_url(server.base_url()).streaming(true);
            check(&rt, chat, expect, tokens, &what).await;
        }
    }

    async fn in_a_whole_answer(rt) {
        let faults: [(Fault, Expect); 13] = [
            (Fault::Status(503, "busy".into()), |e| matches!(e, OpenAiError::Status { status: 503, .. })),
            (Fault::CutBeforeHeaders, |e| matches!(e, OpenAiError::ClosedBeforeResponse { .. })),
            (Fault::WrongContentType, |e| matches!(e, OpenAiError::ContentType { .. })),
            (Fault::Cut(1), |e| matches!(e, OpenAiError::Cut { .. })),
            (Fault::BrokenJson(1), |e| matches!(e, OpenAiError::InvalidBody { .. })),
            (Fault::ErrorEvent(1), |e| matches!(e, OpenAiError::Reported { .. })),
            (Fault::Status(404, "{}".into()), |e| matches!(e, OpenAiError::Status { status: 404, .. })),
            (Fault::Gzip, |e| matches!(e, OpenAiError::Encoded { .. })),
            (Fault::LongHead(100_000), |e| matches!(e, OpenAiError::HeaderTooLarge { .. })),
            (Fault::Reset(0), |e| matches!(e, OpenAiError::Cut { source: Some(_), .. })),
            (Fault::EndlessComments(0), |e| matches!(e, OpenAiError::BodyTooLarge { limit: 16_777_216, .. })),
            (Fault::LyingLength(10), |e| matches!(e, OpenAiError::Cut { source: Some(_), .. })),
            (Fault::LyingLength(-10), |e| matches!(e, OpenAiError::InvalidBody { .. })),
        ];
        for (fault, expect) in faults {
            let what = format!("{fault:?}");
            let server = Server::start(answering().fault(fault)).unwrap();
            check(&rt, ChatOpenAi::builder().base_url(server.base_url()), expect, &[], &what).await;
        }
    }

    /// The reset waits until what came before it was heard: not every system delivers that behind a reset.
    async fn a_reset_in_mid_chunk(rt) {
        let server = Server::start(answering().gated().fault(Fault::Reset(3))).unwrap();
        let (log, heard) = (Log::new(), futures_channel::mpsc::unbounded());
        let told = heard.0;
        let callbacks = rt.callbacks().with_handler(log.handler()).with_handler(handler_fn(move |event, _| {
            if let Event::LlmNewToken(_) = event {
                told.unbounded_send(())?;
            }
            Ok(())
        }));
        let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).streaming(true).callbacks(callbacks.clone()).build().unwrap();
        let generation = rt.go(async move { chat.generate(vec![vec![Message::human("hi")]]).await.remove(0) });
        server.release(3);
        heard.1.take(3).collect::<Vec<_>>().await;
        server.release(1);
        let error = generation.await.unwrap_err();
        assert!(matches!(error.cause::<OpenAiError>(), Some(OpenAiError::Cut { source: Some(_), .. })), "{error:?}");
        callbacks.flush().await;
        assert_eq!(log.lines(), [START, "token: ", "token: a", "token: b", "llm_error: failed: ab"]);
    }

    /// Whoever allows it can have it: see `Fault::Oversized` above for whoever does not.
    async fn an_event_of_four_megabytes_is_none(rt) {
        let server = Server::start(answering().fault(Fault::Oversized(2, 4 << 20))).unwrap();
        let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).streaming(true).max_event_bytes(5 << 20).callbacks(rt.callbacks()).build().unwrap();
        let result = chat.generate(vec![vec![Message::human("hi")]]).await.remove(0).unwrap();
        assert_eq!(result.text(), "abc");
    }

    /// The answer was there: what the server says of its length no longer matters, but the connection is not trusted any more.
    async fn a_stream_that_says_it_is_longer_is_none(rt) {
        let server = Server::start(answering().fault(Fault::LyingLength(10))).unwrap();
        let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).streaming(true).callbacks(rt.callbacks()).build().unwrap();
        for connections in 1..3 {
            let result = chat.generate(vec![vec![Message::human("hi")]]).await.remove(0).unwrap();
            assert_eq!((result.text(), server.connections()), ("abc", connections));
        }
    }

    /// The key is meant for one server: the other one never hears of it.
    async fn a_redirect_is_not_followed(rt) {
        let other = Server::start(answering()).unwrap();
        let server = Server::start(answering().fault(Fault::Redirect(format!("{}/chat/completions", other.base_url())))).unwrap();
        for streaming in [true, false] {
            let chat = ChatOpenAi::builder().base_url(server.base_url()).streaming(streaming);
            check(&rt, chat, |e| matches!(e, OpenAiError::Redirected { location: Some(_), .. }), &[], "redirected").await;
        }
        assert_eq!(other.connections(), 0);
    }

    async fn on_the_way_to_the_server(rt) {
        for streaming in [true, false] {
            // Nobody listens there. (A port that was just free may be another test's by now.)
            let refused = ChatOpenAi::builder().base_url("http://127.0.0.1:1/v1").streaming(streaming);
            check(&rt, refused, |e| matches!(e, OpenAiError::Connect { .. }), &[], "refused").await;

            let nowhere = ChatOpenAi::builder().base_url("http://nowhere.invalid/v1").streaming(streaming);
            check(&rt, nowhere, |e| matches!(e, OpenAiError::Resolve { .. }), &[], "no such host").await;

            let server = Server::start(answering()).unwrap();
            let tls_to_plain = ChatOpenAi::builder().base_url(server.base_url().replace("http:", "https:")).streaming(streaming);
            check(&rt, tls_to_plain, |e| matches!(e, OpenAiError::Tls { .. }), &[], "TLS to a server without").await;

            let server = Server::start_tls(answering()).unwrap();
            let distrusted = ChatOpenAi::builder().base_url(server.base_url()).streaming(streaming);
            check(&rt, distrusted, |e| matches!(e, OpenAiError::Tls { .. }), &[], "a certificate that nobody vouches for").await;
        }
    }

    async fn https_with_a_trusted_certificate_is_none(rt) {
        let server = Server::start_tls(answering()).unwrap();
        for streaming in [true, false] {
            let chat = ChatOpenAi::builder()
                .model("m")
                .base_url(server.base_url())
                .root_certificates(server.ca_pem())
                .streaming(streaming)
                .callbacks(rt.callbacks())
                .build()
                .unwrap();
            let result = chat.generate(vec![vec![Message::human("hi")]]).await.remove(0).unwrap();
            assert_eq!(result.text(), "abc");
        }
    }
}

#[test]
fn a_model_that_cannot_be_set_up_says_why() {
    let model = || ChatOpenAi::builder().model("m").base_url("http://localhost/v1");
    let wrong: [(rappel_openai::ChatOpenAiBuilder, Expect); 10] = [
        (ChatOpenAi::builder().base_url("http://localhost/v1"), |e| {
            matches!(e, OpenAiError::NoModel)
        }),
        (model().base_url("not a url"), |e| matches!(e, OpenAiError::InvalidBaseUrl { .. })),
        (model().base_url("http://user:password@localhost/v1"), |e| {
            matches!(e, OpenAiError::InvalidBaseUrl { .. })
        }),
        (model().base_url("gopher://localhost/v1"), |e| {
            matches!(e, OpenAiError::UnsupportedScheme { .. })
        }),
        (model().api_key("two\nlines"), |e| matches!(e, OpenAiError::InvalidApiKey)),
        (model().root_certificates("no certificate"), |e| {
            matches!(e, OpenAiError::InvalidCertificate { .. })
        }),
        (model().proxy("socks5://localhost:1080"), |e| {
            matches!(e, OpenAiError::InvalidProxy { .. })
        }),
        (model().proxy("not a url"), |e| matches!(e, OpenAiError::InvalidProxy { .. })),
        (model().extra("model", "x"), |e| matches!(e, OpenAiError::ReservedParameter { .. })),
        (model().base_url("https://localhost/v1").default_roots(false), |e| {
            matches!(e, OpenAiError::NoRoots)
        }),
    ];
    for (builder, expect) in wrong {
        let error = builder.build().unwrap_err();
        assert!(expect(&error), "{error:?}");
    }
}
