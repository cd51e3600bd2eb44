//! Every fault of a server has an error of its own, and one `on_llm_error` with the partial result.

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

/// Generates once. Checks the error, and the logs of a sync and an async handler.
async fn check(
    rt: &Rt,
    chat: rappel_openai::ChatOpenAiBuilder,
    expect: Expect,
    tokens: &[&str],
    what: &str,
) {
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
    let error = chat.invoke("hi").await.unwrap_err();
    let cause = error.cause::<OpenAiError>();
    assert!(cause.is_some_and(expect), "{what}: {error:?}");
    callbacks.flush().await.unwrap();

    let mut expected = vec![START.to_owned()];
    expected.extend(tokens.iter().map(|token| format!("token: {token}")));
    expected.push(format!("llm_error: failed: {}", tokens.concat()));
    assert_eq!(sync.lines(), expected, "{what}");
    assert_eq!(asynchronous.lines(), expected, "{what}");
}

on_every_runtime! {
    async fn every_fault_of_a_stream_is_an_error_of_its_own(rt) {
        let faults: [(Fault, Expect, &[&str]); 18] = [
            (
                Fault::Status(400, r#"{"error": {"message": "no", "code": "bad"}}"#.into()),
                |e| matches!(e, OpenAiError::Status { status: 400, message, .. } if message == "no"),
                &[],
            ),
            (
                Fault::Status(429, "slow down".into()),
                |e| matches!(e, OpenAiError::Status { status: 429, retry_after: Some(_), .. }),
                &[],
            ),
            (
                Fault::Status(500, "<html>oops</html>".into()),
                |e| matches!(e, OpenAiError::Status { status: 500, .. }),
                &[],
            ),
            (
                Fault::CutBeforeHeaders,
                |e| matches!(e, OpenAiError::ClosedBeforeResponse { .. }),
                &[],
            ),
            (Fault::WrongContentType, |e| matches!(e, OpenAiError::ContentType { .. }), &[]),
            (Fault::Cut(0), |e| matches!(e, OpenAiError::Cut { .. }), &[]),
            (Fault::Cut(3), |e| matches!(e, OpenAiError::Cut { .. }), &["", "a", "b"]),
            (Fault::EndsEarly(2), |e| matches!(e, OpenAiError::Cut { .. }), &["", "a"]),
            (Fault::BrokenJson(2), |e| matches!(e, OpenAiError::InvalidEvent { .. }), &["", "a"]),
            (
                Fault::ErrorEvent(4),
                |e| matches!(e, OpenAiError::Reported { message, .. } if message == "the model is overloaded"),
                &["", "a", "b", "c"],
            ),
            (
                Fault::Oversized(1, 4 << 20),
                |e| matches!(e, OpenAiError::EventTooLarge { .. }),
                &[""],
            ),
            (Fault::EndsEarly(0), |e| matches!(e, OpenAiError::Cut { .. }), &[]),
            (
                Fault::Gzip,
                |e| matches!(e, OpenAiError::Encoded { encoding, .. } if encoding == "gzip"),
                &[],
            ),
            (
                Fault::LongHead(100_000),
                |e| matches!(e, OpenAiError::HeaderTooLarge { limit: 65_536, .. }),
                &[],
            ),
            (Fault::Reset(0), |e| matches!(e, OpenAiError::Cut { source: Some(_), .. }), &[]),
            (Fault::EndlessComments(2), |e| matches!(e, OpenAiError::NoEvents { .. }), &["", "a"]),
            // The end of the answer and a part of the usage are not sent.
            (
                Fault::LyingLength(-100),
                |e| matches!(e, OpenAiError::Cut { .. }),
                &["", "a", "b", "c", ""],
            ),
            (
                Fault::Redirect("https://elsewhere.invalid/v1?ticket=1".into()),
                |e| matches!(e, OpenAiError::Redirected { status: 307, location: Some(to), .. } if to == "https://elsewhere.invalid/v1"),
                &[],
            ),
        ];
        for (fault, expect, tokens) in faults {
            let what = format!("{fault:?}").chars().take(80).collect::<String>();
            let server = Server::start(answering().fault(fault)).unwrap();
            let chat = ChatOpenAi::builder().base_url(server.base_url()).streaming(true);
            check(&rt, chat, expect, tokens, &what).await;
        }
    }

    async fn every_fault_of_a_whole_answer_is_an_error_of_its_own(rt) {
        let faults: [(Fault, Expect); 13] = [
            (Fault::Status(503, "busy".into()), |e| {
                matches!(e, OpenAiError::Status { status: 503, .. })
            }),
            (Fault::CutBeforeHeaders, |e| matches!(e, OpenAiError::ClosedBeforeResponse { .. })),
            (Fault::WrongContentType, |e| matches!(e, OpenAiError::ContentType { .. })),
            (Fault::Cut(1), |e| matches!(e, OpenAiError::Cut { .. })),
            (Fault::BrokenJson(1), |e| matches!(e, OpenAiError::InvalidBody { .. })),
            (Fault::ErrorEvent(1), |e| matches!(e, OpenAiError::Reported { .. })),
            (Fault::Status(404, "{}".into()), |e| {
                matches!(e, OpenAiError::Status { status: 404, .. })
            }),
            (Fault::Gzip, |e| matches!(e, OpenAiError::Encoded { .. })),
            (Fault::LongHead(100_000), |e| matches!(e, OpenAiError::HeaderTooLarge { .. })),
            (Fault::Reset(0), |e| matches!(e, OpenAiError::Cut { source: Some(_), .. })),
            (Fault::EndlessComments(0), |e| {
                matches!(e, OpenAiError::BodyTooLarge { limit: 16_777_216, .. })
            }),
            (Fault::LyingLength(10), |e| matches!(e, OpenAiError::Cut { source: Some(_), .. })),
            (Fault::LyingLength(-10), |e| matches!(e, OpenAiError::InvalidBody { .. })),
        ];
        for (fault, expect) in faults {
            let what = format!("{fault:?}");
            let server = Server::start(answering().fault(fault)).unwrap();
            check(&rt, ChatOpenAi::builder().base_url(server.base_url()), expect, &[], &what).await;
        }
    }

    /// The server resets the connection after the handlers got the events before it, because not
    /// every system delivers data that is followed by a reset.
    async fn a_reset_within_a_chunk_is_a_cut(rt) {
        let server = Server::start(answering().gated().fault(Fault::Reset(3))).unwrap();
        let (sender, tokens) = futures_channel::mpsc::unbounded();
        let log = Log::new();
        let callbacks =
            rt.callbacks().with_handler(log.handler()).with_handler(handler_fn(move |event, _| {
                if let Event::LlmNewToken(_) = event {
                    sender.unbounded_send(())?;
                }
                Ok(())
            }));
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .streaming(true)
            .callbacks(callbacks.clone())
            .build()
            .unwrap();
        let generation = rt.go(async move { chat.invoke("hi").await });
        server.release(3);
        tokens.take(3).collect::<Vec<_>>().await;
        server.release(1);
        let error = generation.await.unwrap_err();
        assert!(
            matches!(error.cause::<OpenAiError>(), Some(OpenAiError::Cut { source: Some(_), .. })),
            "{error:?}"
        );
        callbacks.flush().await.unwrap();
        assert_eq!(
            log.lines(),
            [START, "token: ", "token: a", "token: b", "llm_error: failed: ab"]
        );
    }

    /// The default limit refuses it: see `Fault::Oversized` above.
    async fn a_large_event_is_read_if_the_limit_allows_it(rt) {
        let server = Server::start(answering().fault(Fault::Oversized(2, 4 << 20))).unwrap();
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .streaming(true)
            .max_event_bytes(5 << 20)
            .callbacks(rt.callbacks())
            .build()
            .unwrap();
        let result = chat.invoke("hi").await.unwrap();
        assert_eq!(result.text(), "abc");
    }

    /// The answer is complete, so the wrong length does not matter, but the connection is not used
    /// again.
    async fn a_stream_with_a_wrong_length_is_read_to_its_answers_end(rt) {
        let server = Server::start(answering().fault(Fault::LyingLength(10))).unwrap();
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .streaming(true)
            .callbacks(rt.callbacks())
            .build()
            .unwrap();
        for connections in 1..3 {
            let result = chat.invoke("hi").await.unwrap();
            assert_eq!((result.text(), server.connections()), ("abc", connections));
        }
    }

    /// The key is meant for one server, so there is no connection to the other one.
    async fn a_redirect_is_not_followed(rt) {
        let other = Server::start(answering()).unwrap();
        let server = Server::start(
            answering().fault(Fault::Redirect(format!("{}/chat/completions", other.base_url()))),
        )
        .unwrap();
        for streaming in [true, false] {
            let chat = ChatOpenAi::builder().base_url(server.base_url()).streaming(streaming);
            check(
                &rt,
                chat,
                |e| matches!(e, OpenAiError::Redirected { location: Some(_), .. }),
                &[],
                "redirected",
            )
            .await;
        }
        assert_eq!(other.connections(), 0);
    }

    async fn every_failure_to_connect_is_an_error_of_its_own(rt) {
        for streaming in [true, false] {
            // Port 1 is reserved. A port that was just free may be in use by another test.
            let refused =
                ChatOpenAi::builder().base_url("http://127.0.0.1:1/v1").streaming(streaming);
            check(&rt, refused, |e| matches!(e, OpenAiError::Connect { .. }), &[], "refused").await;

            let nowhere =
                ChatOpenAi::builder().base_url("http://nowhere.invalid/v1").streaming(streaming);
            check(&rt, nowhere, |e| matches!(e, OpenAiError::Resolve { .. }), &[], "no such host")
                .await;

            let server = Server::start(answering()).unwrap();
            let tls_to_plain = ChatOpenAi::builder()
                .base_url(server.base_url().replace("http:", "https:"))
                .streaming(streaming);
            check(
                &rt,
                tls_to_plain,
                |e| matches!(e, OpenAiError::Tls { .. }),
                &[],
                "a server without TLS",
            )
            .await;

            let server = Server::start_tls(answering()).unwrap();
            let distrusted = ChatOpenAi::builder().base_url(server.base_url()).streaming(streaming);
            check(
                &rt,
                distrusted,
                |e| matches!(e, OpenAiError::Tls { .. }),
                &[],
                "an untrusted certificate",
            )
            .await;
        }
    }

    async fn https_works_with_a_trusted_certificate(rt) {
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
            let result = chat.invoke("hi").await.unwrap();
            assert_eq!(result.text(), "abc");
        }
    }
}

#[test]
fn an_invalid_setting_is_an_error_of_its_own() {
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
