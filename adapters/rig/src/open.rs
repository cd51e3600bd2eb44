//! What is open and may be the parent of something that rig starts elsewhere: tool calls whose tool
//! may be an agent, and agents that ask an index.
//!
//! Rig gives a sub-agent a new run id and no parent. The driver of a bus polls the tools and indices
//! of all runs of an agent, on the task of any of them, so the task does not say who asked either.
//! Two things do:
//!
//! - The span that rig makes of a tool call is the current one in the tool. That is exact, and there
//!   is none without a subscriber that wants it.
//! - Both sides know the tool's name and the prompt, or the query.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rappel_core::{CallbackManager, ChainRun, RunId, ToolRun, Value};
use tracing::Span;
use tracing::span::Id;

/// The name of a tool that is an agent without a name.
const UNNAMED: &str = "agent_tool";

/// The name of the span that rig makes of a tool call.
const TOOL_SPAN: &str = "execute_tool";

static OPEN: Mutex<Vec<Arc<Open>>> = Mutex::new(Vec::new());

struct Open {
    asks: Asks,
    /// For a tool call: rig's span of it. For a query: the span that the agent is in.
    span: Option<Id>,
    /// The manager of the asking run's children.
    children: CallbackManager,
    root: RunId,
    is_taken: AtomicBool,
}

enum Asks {
    Agent { tool: String, arguments: String },
    Index { query: String },
}

/// Something that is open until this is dropped.
pub(crate) struct Opened(Arc<Open>);

impl Opened {
    fn new(asks: Asks, span: Option<Id>, children: CallbackManager, root: RunId) -> Self {
        let open = Arc::new(Open { asks, span, children, root, is_taken: AtomicBool::new(false) });
        all().push(open.clone());
        Self(open)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // The last pointer is this one, so nothing else is dropped under the lock.
        all().retain(|open| !Arc::ptr_eq(open, &self.0));
    }
}

/// Which run asks.
pub(crate) enum Asker {
    /// None that is known.
    None,
    /// The run with these children.
    Run(CallbackManager),
    /// One of several, in different traces.
    Unknown,
}

/// Notes a tool call.
pub(crate) fn tool_call(tool: &str, arguments: &str, run: &ToolRun) -> Opened {
    let span = Span::current();
    let is_of_call = span.metadata().is_some_and(|span| span.name() == TOOL_SPAN);
    let asks = Asks::Agent { tool: tool.to_owned(), arguments: arguments.to_owned() };
    Opened::new(asks, span.id().filter(|_| is_of_call), run.child(), run.info().root_id())
}

/// Notes that an agent may ask an index.
pub(crate) fn query(query: String, run: &ChainRun) -> Opened {
    let asks = Asks::Index { query };
    Opened::new(asks, Span::current().id(), run.child(), run.info().root_id())
}

/// Finds the tool call that has started an agent. One that is found by name is found once.
pub(crate) fn caller_of(agent: Option<&str>, prompt: &str) -> Asker {
    if let Some(here) = Span::current().id() {
        let is_call = |open: &Open| matches!(open.asks, Asks::Agent { .. });
        let all = all();
        let mut calls = all.iter().filter(|open| is_call(open));
        if let Some(open) = calls.find(|open| open.span.as_ref() == Some(&here)) {
            return Asker::Run(open.children.clone());
        }
    }
    let tool = agent.unwrap_or(UNNAMED);
    let is_caller = |open: &Open| match &open.asks {
        Asks::Agent { tool: name, arguments } => {
            open.span.is_none() && name == tool && prompt_of(arguments).as_deref() == Some(prompt)
        }
        Asks::Index { .. } => false,
    };
    find(is_caller, true)
}

/// The prompt, if the arguments are those of an agent.
fn prompt_of(arguments: &str) -> Option<String> {
    let Value::Object(mut arguments) = arguments.parse().ok()? else { return None };
    match (arguments.remove("prompt"), arguments.is_empty()) {
        (Some(Value::String(prompt)), true) => Some(prompt),
        _ => None,
    }
}

/// Finds the agent that asks an index. An agent may ask several.
pub(crate) fn asker_of(query: &str) -> Asker {
    let here = Span::current().id();
    let is_asker = |open: &Open| match &open.asks {
        Asks::Index { query: asked } => asked == query && open.span == here,
        Asks::Agent { .. } => false,
    };
    find(is_asker, false)
}

fn find(is_it: impl Fn(&Open) -> bool, take: bool) -> Asker {
    let all = all();
    let mut same = all.iter().filter(|open| !open.is_taken.load(Ordering::Relaxed) && is_it(open));
    let Some(first) = same.next() else { return Asker::None };
    if same.any(|other| other.root != first.root) {
        return Asker::Unknown;
    }
    first.is_taken.store(take, Ordering::Relaxed);
    Asker::Run(first.children.clone())
}

/// Whether anything is open: what starts under it has handlers that its own hook does not know.
pub(crate) fn any() -> bool {
    !all().is_empty()
}

fn all() -> MutexGuard<'static, Vec<Arc<Open>>> {
    // Nothing panics while it is locked.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails should say where")]
mod tests {
    use futures_util::FutureExt;
    use rappel_core::ToolStart;

    use super::*;

    const PROMPT: &str = r#"{"prompt": "p"}"#;

    fn tool_run(callbacks: &CallbackManager, tool: &str) -> ToolRun {
        // There is no handler, so it is ready.
        callbacks.on_tool_start(ToolStart::new(tool, "{}")).now_or_never().unwrap().unwrap()
    }

    fn parent_of(asker: Asker) -> Option<RunId> {
        let Asker::Run(children) = asker else { return None };
        tool_run(&children, "t").info().parent_id()
    }

    #[test]
    fn a_call_is_found_once_and_until_it_is_over() {
        let run = tool_run(&CallbackManager::default(), "once");
        let opened = tool_call("once", PROMPT, &run);
        assert!(matches!(caller_of(Some("once"), "another"), Asker::None));
        assert!(matches!(caller_of(Some("another"), "p"), Asker::None));
        assert_eq!(parent_of(caller_of(Some("once"), "p")), Some(run.id()));
        assert!(matches!(caller_of(Some("once"), "p"), Asker::None));
        drop(opened);

        drop(tool_call("once", PROMPT, &run));
        assert!(matches!(caller_of(Some("once"), "p"), Asker::None));
    }

    #[test]
    fn calls_of_one_trace_are_taken_in_turn_and_those_of_several_by_none() {
        let callbacks = CallbackManager::default();
        let outer = tool_run(&callbacks, "outer");
        let same = [tool_run(&outer.child(), "same"), tool_run(&outer.child(), "same")];
        let _opened = same.each_ref().map(|run| tool_call("same", PROMPT, run));
        assert_eq!(parent_of(caller_of(Some("same"), "p")), Some(same[0].id()));

        let other = tool_run(&callbacks, "same");
        let other_is_open = tool_call("same", PROMPT, &other);
        assert!(matches!(caller_of(Some("same"), "p"), Asker::Unknown));
        drop(other_is_open);
        assert_eq!(parent_of(caller_of(Some("same"), "p")), Some(same[1].id()));
    }

    #[test]
    fn only_calls_with_the_arguments_of_an_agent_are_found() {
        let run = tool_run(&CallbackManager::default(), "add");
        for arguments in ["{\"x\": 1}", "{\"prompt\": 1}", "{\"prompt\": \"p\", \"x\": 1}", ""] {
            let _opened = tool_call("add", arguments, &run);
            assert!(matches!(caller_of(Some("add"), "p"), Asker::None), "{arguments}");
        }
    }

    #[test]
    fn a_call_with_rig_s_span_is_found_inside_the_span_only() {
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry());
        let run = tool_run(&CallbackManager::default(), "spanned");
        let span = tracing::info_span!("execute_tool");
        let _opened = span.in_scope(|| tool_call("spanned", PROMPT, &run));
        assert!(matches!(caller_of(Some("spanned"), "p"), Asker::None));
        let other = tracing::info_span!("execute_tool");
        assert!(matches!(other.in_scope(|| caller_of(Some("spanned"), "p")), Asker::None));
        for _ in 0..2 {
            let asker = span.in_scope(|| caller_of(None, "another"));
            assert_eq!(parent_of(asker), Some(run.id()));
        }
    }
}
