//! Public types are `Send`, `Sync` and `Unpin` as promised: users' futures must stay spawnable.

use rappel_core::{
    CallOptions, CallbackManager, CallbackStream, ChainRun, ChatModel, Emit, EmitError, End, Event, Flush, HandlerError, HandlerFailure,
    HandlerFuture, LlmChunk, LlmResult, LlmRun, LlmStream, Message, RetrieverRun, RunError, RunInfo, Start, StartError, ToolRun,
};
use static_assertions::{assert_impl_all, assert_obj_safe};

assert_impl_all!(CallbackManager: Send, Sync, Unpin, Clone);
assert_impl_all!(CallbackManager<rappel_tokio::Tokio>: Send, Sync, Unpin, Clone);
assert_impl_all!(CallbackManager<rappel_smol::Smol>: Send, Sync, Unpin, Clone);
assert_impl_all!(CallbackManager<rappel_async_std::AsyncStd>: Send, Sync, Unpin, Clone);
assert_impl_all!(CallbackManager<rappel_core::Threads>: Send, Sync, Unpin, Clone);
assert_impl_all!(LlmRun: Send, Sync, Unpin);
assert_impl_all!(ChainRun: Send, Sync, Unpin);
assert_impl_all!(ToolRun: Send, Sync, Unpin);
assert_impl_all!(RetrieverRun: Send, Sync, Unpin);
assert_impl_all!(Emit<'static>: Send, Sync, Unpin);
assert_impl_all!(End: Send, Sync, Unpin);
assert_impl_all!(Start<LlmRun>: Send, Sync, Unpin);
assert_impl_all!(Flush: Send, Sync, Unpin);
assert_impl_all!(HandlerFuture<'static>: Send);
assert_impl_all!(CallbackStream<futures_util::stream::Empty<Result<LlmChunk, RunError>>, LlmChunk>: Send, Sync, Unpin);
assert_impl_all!(LlmStream: Send, Unpin);
assert_impl_all!(Event: Send, Sync, Clone);
assert_impl_all!(RunInfo: Send, Sync, Clone);
assert_impl_all!(Message: Send, Sync, Clone);
assert_impl_all!(LlmResult: Send, Sync, Clone);
assert_impl_all!(CallOptions: Send, Sync, Clone);
assert_impl_all!(RunError: Send, Sync, Clone, std::error::Error);
assert_impl_all!(EmitError: Send, Sync, Clone, std::error::Error);
assert_impl_all!(HandlerFailure: Send, Sync, Clone, std::error::Error);
assert_impl_all!(StartError<LlmRun>: Send, Sync, std::error::Error);
assert_impl_all!(HandlerError: Send, Sync);
assert_impl_all!(rappel_openai::ChatOpenAi: Send, Sync, Clone, ChatModel);
assert_impl_all!(rappel_openai::OpenAiError: Send, Sync, std::error::Error);
assert_obj_safe!(ChatModel);
assert_obj_safe!(
    rappel_core::Spawner,
    rappel_core::BlockingExecutor,
    rappel_core::Timer,
    rappel_core::Clock
);

#[test]
fn a_future_that_emits_can_be_spawned() {
    fn spawnable(_: impl Future + Send + 'static) {}

    spawnable(async {
        let callbacks = CallbackManager::noop();
        let run = callbacks.on_llm_start(rappel_core::LlmStart::new("model", "prompt")).await?;
        run.on_llm_new_token("a").await?;
        run.end(LlmResult::new()).await?;
        Ok::<(), RunError>(())
    });
}
