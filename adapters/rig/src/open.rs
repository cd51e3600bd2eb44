//! What is open and may be the parent of something that rig starts elsewhere: tool calls whose tool
//! may be an agent, and agents that ask an index.
//!
//! Rig gives a sub-agent a new run id and no parent. The driver of a bus polls the tools and indices
//! of all runs of an agent, on the task of any of them, so the task does not say who asked either.
//! What both sides know is the tool's name and the prompt, or the query.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rappel_core::{CallbackManager, ChainRun, RunId, ToolRun, Value};

/// The name of a tool that is an agent without a name.
const UNNAMED: &str = "agent_tool";

static OPEN: Mutex<Vec<Arc<Open>>> = Mutex::new(Vec::new());

struct Open {
    asks: Asks,
    /// The manager of the asking run's children.
    children: CallbackManager,
    root: RunId,
    is_taken: AtomicBool,
}

#[derive(PartialEq)]
enum Asks {
    Agent { tool: String, prompt: String },
    Index { query: String },
}

/// Something that is open until this is dropped.
pub(crate) struct Opened(Arc<Open>);

impl Opened {
    fn new(asks: Asks, children: CallbackManager, root: RunId) -> Self {
        let open = Arc::new(Open { asks, children, root, is_taken: AtomicBool::new(false) });
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

/// Notes a tool call. `None` if its arguments are not those of an agent.
pub(crate) fn tool_call(tool: &str, arguments: &Value, run: &ToolRun) -> Option<Opened> {
    let arguments = arguments.as_object().filter(|arguments| arguments.len() == 1)?;
    let prompt = arguments.get("prompt")?.as_str()?.to_owned();
    let asks = Asks::Agent { tool: tool.to_owned(), prompt };
    Some(Opened::new(asks, run.child(), run.info().root_id()))
}

/// Notes that an agent may ask an index.
pub(crate) fn query(query: String, run: &ChainRun) -> Opened {
    Opened::new(Asks::Index { query }, run.child(), run.info().root_id())
}

/// Finds the tool call that has started an agent. A call is found once.
pub(crate) fn caller_of(agent: Option<&str>, prompt: &str) -> Asker {
    let tool = agent.unwrap_or(UNNAMED).to_owned();
    find(&Asks::Agent { tool, prompt: prompt.to_owned() }, true)
}

/// Finds the agent that asks an index. An agent may ask several.
pub(crate) fn asker_of(query: &str) -> Asker {
    find(&Asks::Index { query: query.to_owned() }, false)
}

fn find(asks: &Asks, take: bool) -> Asker {
    let all = all();
    let mut same =
        all.iter().filter(|open| open.asks == *asks && !open.is_taken.load(Ordering::Relaxed));
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
    use rappel_core::{ToolStart, json};

    use super::*;

    fn tool_run(callbacks: &CallbackManager, tool: &str) -> ToolRun {
        // There is no handler, so it is ready.
        callbacks.on_tool_start(ToolStart::new(tool, "{}")).now_or_never().unwrap().unwrap()
    }

    fn parent_of(caller: Asker) -> Option<RunId> {
        let Asker::Run(children) = caller else { return None };
        let run = children.on_tool_start(ToolStart::new("t", "")).now_or_never().unwrap().unwrap();
        run.info().parent_id()
    }

    #[test]
    fn a_call_is_found_once_and_until_it_is_over() {
        let run = tool_run(&CallbackManager::default(), "once");
        let open = tool_call("once", &json!({"prompt": "p"}), &run).unwrap();
        assert!(matches!(caller_of(Some("once"), "another"), Asker::None));
        assert!(matches!(caller_of(Some("another"), "p"), Asker::None));
        assert_eq!(parent_of(caller_of(Some("once"), "p")), Some(run.id()));
        assert!(matches!(caller_of(Some("once"), "p"), Asker::None));
        drop(open);

        let open = super::tool_call("once", &json!({"prompt": "p"}), &run).unwrap();
        drop(open);
        assert!(matches!(caller_of(Some("once"), "p"), Asker::None));
    }

    #[test]
    fn calls_of_one_trace_are_taken_in_turn_and_those_of_several_by_none() {
        let callbacks = CallbackManager::default();
        let outer = tool_run(&callbacks, "outer");
        let same = [tool_run(&outer.child(), "same"), tool_run(&outer.child(), "same")];
        let inputs = json!({"prompt": "p"});
        let _open = same.each_ref().map(|run| tool_call("same", &inputs, run).unwrap());
        assert_eq!(parent_of(caller_of(Some("same"), "p")), Some(same[0].id()));

        let other = tool_run(&callbacks, "same");
        let other_is_open = tool_call("same", &inputs, &other);
        assert!(matches!(caller_of(Some("same"), "p"), Asker::Unknown));
        drop(other_is_open);
        assert_eq!(parent_of(caller_of(Some("same"), "p")), Some(same[1].id()));
    }

    #[test]
    fn only_calls_with_the_arguments_of_an_agent_are_noted() {
        let run = tool_run(&CallbackManager::default(), "add");
        for arguments in [json!({"x": 1}), json!({"prompt": 1}), json!({"prompt": "p", "x": 1})] {
            assert!(tool_call("add", &arguments, &run).is_none(), "{arguments}");
        }
    }
}
