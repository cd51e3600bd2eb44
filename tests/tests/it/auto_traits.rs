//! Public types are `Send`, `Sync` and `Unpin` as documented, so that users' futures can be
//! spawned.

use rappel_core::prelude::*;
use rappel_core::{
    BlockingExecutor, CallbackStream, Clock, DynAsyncHandler, Emit, End, Entropy, Flush,
    HandlerFuture, Kept, LlmStream, Losses, RegisterError, SendEvent, Shutdown, ShutdownReport,
    Spawner, Start, Timer,
};
use static_assertions::{assert_impl_all, assert_not_impl_any, assert_obj_safe};

assert_impl_all!(CallbackManager: Send, Sync, Unpin, Clone, Default);
assert_impl_all!(rappel_tokio::Tokio: Spawner, BlockingExecutor, Timer, Unpin, Clone);
assert_impl_all!(rappel_smol::Smol: Spawner, BlockingExecutor, Timer, Unpin, Clone);
assert_impl_all!(rappel_async_std::AsyncStd: Spawner, BlockingExecutor, Timer, Unpin, Clone);
assert_impl_all!(rappel_threads::Threads: Spawner, BlockingExecutor, Timer, Unpin, Clone);
assert_impl_all!(LlmRun: Send, Sync, Unpin);
assert_impl_all!(ChainRun: Send, Sync, Unpin);
assert_impl_all!(ToolRun: Send, Sync, Unpin);
assert_impl_all!(RetrieverRun: Send, Sync, Unpin);
assert_impl_all!(Emit<'static>: Send, Sync, Unpin);
assert_impl_all!(End: Send, Sync, Unpin);
assert_impl_all!(Start<LlmRun>: Send, Sync, Unpin);
assert_impl_all!(Kept<LlmRun>: Send, Sync, Unpin);
assert_impl_all!(SendEvent: Send, Sync, Unpin);
assert_impl_all!(Flush: Send, Sync, Unpin);
assert_impl_all!(Shutdown: Send, Unpin);
assert_impl_all!(HandlerFuture<'static>: Send);
assert_impl_all!(CallbackStream<futures_util::stream::Empty<Result<LlmChunk, RunError>>, LlmChunk>: Send, Sync, Unpin);
assert_impl_all!(LlmStream: Send, Unpin);
assert_impl_all!(Event: Send, Sync, Clone);
assert_impl_all!(EventContext: Send, Sync);
assert_impl_all!(RunInfo: Send, Sync, Clone);
assert_impl_all!(Message: Send, Sync, Clone);
assert_impl_all!(LlmResult: Send, Sync, Clone);
assert_impl_all!(CallOptions: Send, Sync, Clone);
assert_impl_all!(HandlerOptions: Send, Sync, Clone);
assert_impl_all!(Delivery: Send, Sync, Copy);
assert_impl_all!(DynAsyncHandler: AsyncCallbackHandler);
assert_impl_all!(Losses: Send, Sync, Copy);
assert_impl_all!(ShutdownReport: Send, Sync);
assert_impl_all!(RunError: Send, Sync, Clone, std::error::Error);
assert_impl_all!(EmitError: Send, Sync, Clone, std::error::Error);
assert_impl_all!(RegisterError: Send, Sync, Clone, std::error::Error);
assert_impl_all!(HandlerFailure: Send, Sync, Clone, std::error::Error);
assert_impl_all!(HandlerError: Send, Sync);
// So that `?` makes one of any error.
assert_not_impl_any!(HandlerError: std::error::Error);
assert_impl_all!(rappel_openai::ChatOpenAi: Send, Sync, Clone, ChatModel);
assert_impl_all!(rappel_openai::OpenAiError: Send, Sync, std::error::Error);
assert_obj_safe!(ChatModel);
assert_obj_safe!(Spawner, BlockingExecutor, Timer, Clock, Entropy);
assert_obj_safe!(CallbackHandler);

#[test]
fn a_future_that_emits_can_be_spawned() {
    fn spawnable(_: impl Future + Send + 'static) {}

    spawnable(async {
        let callbacks = CallbackManager::default();
        let mut run = callbacks.on_llm_start(LlmStart::new("model", "prompt")).await?;
        run.on_llm_new_token("a").await?;
        run.end("a").await?;
        Ok::<(), RunError>(())
    });
}

#[test]
fn a_future_that_emits_on_a_run_beside_its_child_can_be_spawned() {
    fn spawnable(_: impl Future + Send + 'static) {}

    spawnable(async {
        let callbacks = CallbackManager::default();
        let mut chain = callbacks.on_chain_start(ChainStart::new("chain", "in")).await?;
        let child = chain.child();
        let model = async {
            let run = child.on_llm_start(LlmStart::new("model", "prompt")).await?;
            run.end("a").await
        };
        let (text, model) = futures_util::future::join(chain.on_text("text"), model).await;
        text?;
        model?;
        chain.end("out").await?;
        Ok::<(), RunError>(())
    });
}
