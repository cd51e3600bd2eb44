//! The partial result that is kept for a run is bounded, and is not kept if no handler can see it.

use super::counted::Counted;
use super::*;

/// Writes the partial result of each cancelled run.
fn partials() -> (impl CallbackHandler + Send, Arc<Mutex<Vec<String>>>) {
    let partials = Arc::new(Mutex::new(Vec::new()));
    let kept = partials.clone();
    let handler = handler_fn(move |event, _| {
        if let Event::LlmError(error) = event {
            kept.lock().unwrap().push(error.partial.text().to_owned());
        }
        Ok(())
    });
    (handler, partials)
}

on_every_runtime! {
    async fn a_partial_result_has_at_most_as_many_bytes_as_its_limit(rt) {
        let (handler, partials) = partials();
        let callbacks = rt.callbacks().with_handler(handler).partial_limit(12);
        let mut run = model(&callbacks, "run").await;
        tokens(&mut run, &["ab"; 100]).await;
        drop(run);
        callbacks.flush().await.unwrap();
        let partials = partials.lock().unwrap();
        let [partial] = &partials[..] else { panic!("{partials:?}") };
        assert!(!partial.is_empty() && partial.len() <= 12, "{partial}");
        assert!("ab".repeat(100).starts_with(partial), "{partial}");
    }

    async fn a_partial_result_below_the_limit_is_whole(rt) {
        let (handler, partials) = partials();
        let callbacks = rt.callbacks().with_handler(handler).partial_limit(200);
        let mut run = model(&callbacks, "run").await;
        tokens(&mut run, &["ab"; 100]).await;
        drop(run);
        callbacks.flush().await.unwrap();
        assert_eq!(*partials.lock().unwrap(), ["ab".repeat(100)]);
    }

    /// A limit in the middle of a character cuts before it.
    async fn a_partial_result_is_never_cut_inside_a_character(rt) {
        let (handler, partials) = partials();
        let callbacks = rt.callbacks().with_handler(handler).partial_limit(10);
        let mut run = model(&callbacks, "run").await;
        tokens(&mut run, &["日本", "語日", "本語"]).await;
        drop(run);
        callbacks.flush().await.unwrap();
        let partials = partials.lock().unwrap();
        assert!("日本語日本語".starts_with(&partials[0]) && partials[0].len() <= 10, "{partials:?}");
    }

    async fn a_partial_result_is_bounded_by_default(rt) {
        const MIB: usize = 1 << 20;
        let (handler, partials) = partials();
        let callbacks = rt.callbacks().with_handler_options(handler, Awaited::new().inline());
        let mut run = model(&callbacks, "run").await;
        let token = "x".repeat(MIB / 64);
        for _ in 0..3 * 64 {
            run.on_llm_new_token(token.as_str()).await.unwrap();
        }
        drop(run);
        callbacks.flush().await.unwrap();
        let partials = partials.lock().unwrap();
        assert!((MIB / 2..=MIB).contains(&partials[0].len()), "{} bytes", partials[0].len());
    }

    /// A handler that wants tokens only never sees a partial result.
    async fn no_partial_result_is_kept_for_a_run_whose_errors_no_handler_wants(rt) {
        struct Tokens;

        impl AsyncCallbackHandler for Tokens {
            fn interest(&self) -> Interest {
                Interest::only(EventKind::LlmNewToken)
            }

            async fn on_llm_new_token(&self, _: &LlmNewToken, _: &EventContext) -> HandlerResult {
                Ok(())
            }
        }

        let counted = Counted::new(&rt);
        let callbacks = counted.callbacks().with_async_handler(Tokens);
        let mut run = counted.of(model(&callbacks, "run")).await;
        let before = counted.bytes().await;
        let token = "x".repeat(1_000);
        let work = async {
            for _ in 0..200 {
                run.on_llm_new_token(token.as_str()).await.unwrap();
            }
        };
        counted.of(work).await;
        let grown = counted.bytes().await - before;
        assert!(grown <= 4_096, "{grown} bytes for 200 kB of tokens");
        run.end("end").await.unwrap();
    }
}
