//! Open tool calls whose tool may be an agent, so that the agent's run finds its parent.
//!
//! Rig gives a sub-agent a new run id and no parent. The driver of a bus polls the tools of all runs
//! of an agent, on the task of any of them, so the task does not say who called either. What both
//! sides know is the tool's name and the prompt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rappel_core::{CallbackManager, RunId, ToolRun, Value};

/// The name of a tool that is an agent without a name.
const UNNAMED: &str = "agent_tool";

static OPEN: Mutex<Vec<Arc<Call>>> = Mutex::new(Vec::new());

struct Call {
    tool: String,
    prompt: String,
    /// The manager of the tool's children.
    children: CallbackManager,
    root: RunId,
    is_taken: AtomicBool,
}

/// A call that is open until this is dropped.
pub(crate) struct Delegation(Arc<Call>);

impl Drop for Delegation {
    fn drop(&mut self) {
        open_calls().retain(|call| !Arc::ptr_eq(call, &self.0));
    }
}

/// Who called an agent.
pub(crate) enum Caller {
    /// No open tool call can have called it.
    None,
    /// The tool call with these children.
    Tool(CallbackManager),
    /// Calls of different traces could have called it.
    Unknown,
}

/// Notes a tool call. `None` if its arguments are not those of an agent.
pub(crate) fn open(tool: &str, arguments: &Value, run: &ToolRun) -> Option<Delegation> {
    let arguments = arguments.as_object().filter(|arguments| arguments.len() == 1)?;
    let call = Arc::new(Call {
        tool: tool.to_owned(),
        prompt: arguments.get("prompt")?.as_str()?.to_owned(),
        children: run.child(),
        root: run.info().root_id(),
        is_taken: AtomicBool::new(false),
    });
    open_calls().push(call.clone());
    Some(Delegation(call))
}

/// Finds who called the agent. A call is found once.
pub(crate) fn caller_of(agent: Option<&str>, prompt: &str) -> Caller {
    let tool = agent.unwrap_or(UNNAMED);
    let calls = open_calls();
    let mut same = calls.iter().filter(|call| {
        call.tool == tool && call.prompt == prompt && !call.is_taken.load(Ordering::Relaxed)
    });
    let Some(first) = same.next() else { return Caller::None };
    if same.any(|other| other.root != first.root) {
        return Caller::Unknown;
    }
    first.is_taken.store(true, Ordering::Relaxed);
    Caller::Tool(first.children.clone())
}

/// Whether a sub-agent may start, with handlers that its hook does not know.
pub(crate) fn any() -> bool {
    !open_calls().is_empty()
}

fn open_calls() -> MutexGuard<'static, Vec<Arc<Call>>> {
    // Nothing panics while it is locked.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}
