//! What rig is asked for. In a process of its own, because an open tool call of another test may be
//! the parent of an agent with other handlers.

use rappel_core::{
    CallbackHandler, CallbackManager, Event, EventContext, EventKind, HandlerResult, InRun,
    Interest, ToolEnd, handler_fn,
};
use rappel_rig::RigHook;
use rappel_tokio::Tokio;
use rig_agent::agent::{AgentHook, StepEventKind};

struct Tools;

impl CallbackHandler for Tools {
    fn on_tool_end(&mut self, _: &ToolEnd, _: &EventContext) -> HandlerResult {
        Ok(())
    }

    fn interest(&self) -> Interest {
        Interest::only(EventKind::ToolEnd)
    }
}

#[tokio::test]
async fn rig_is_asked_only_for_what_a_handler_wants() {
    let hook = RigHook::new(&CallbackManager::new(Tokio::current()));
    assert!(!hook.observes(StepEventKind::RunStart));
    let tools = RigHook::new(&CallbackManager::new(Tokio::current()).with_handler(Tools));
    assert!(tools.observes(StepEventKind::RunStart));
    assert!(tools.observes(StepEventKind::ToolDispatch));
    assert!(!tools.observes(StepEventKind::TextDelta));
    assert!(!tools.observes(StepEventKind::RetrieveDispatch));
    assert!(!tools.observes(StepEventKind::MemoryDispatch));
    let listener = handler_fn(|_: &Event, _: &EventContext| -> HandlerResult { Ok(()) });
    let all = RigHook::new(&CallbackManager::new(Tokio::current()).with_handler(listener));
    assert!(all.observes(StepEventKind::TextDelta));
    assert!(all.observes(StepEventKind::RetrieveDispatch));
    assert!(all.observes(StepEventKind::MemoryDispatch));
}

#[tokio::test]
async fn the_handlers_of_the_scope_count_too() {
    let hook = RigHook::new(&CallbackManager::new(Tokio::current()));
    let listener = handler_fn(|_: &Event, _: &EventContext| -> HandlerResult { Ok(()) });
    let scope = CallbackManager::new(Tokio::current()).with_handler(listener);
    let observes = async { hook.observes(StepEventKind::TextDelta) };
    assert!(observes.in_scope(&scope).await);
    assert!(!hook.observes(StepEventKind::TextDelta));
}
