//! Promise 2: a handler sees a parent's start before its children's starts, and its children's
//! ends before the parent's end, in every delivery.

mod closing;
mod cut_off;
mod detached;
mod races;
mod traces;

use std::collections::{BTreeMap, BTreeSet};

use super::watched::{ASYNC, SYNC};
use super::*;

/// An event as a handler saw it.
#[derive(Debug, Clone)]
struct Seen {
    run: RunId,
    parent: Option<RunId>,
    name: String,
    kind: EventKind,
}

/// What one handler has seen.
#[derive(Debug, Clone, Default)]
struct History(Arc<Mutex<Vec<Seen>>>);

impl History {
    fn write(&self, event: &Event, cx: &EventContext) {
        let seen = Seen {
            run: cx.id(),
            parent: cx.parent_id(),
            name: cx.name().to_owned(),
            kind: event.kind(),
        };
        self.0.lock().unwrap().push(seen);
    }

    fn sync(&self) -> impl CallbackHandler + Send + use<> {
        let history = self.clone();
        handler_fn(move |event: &Event, cx: &EventContext| {
            history.write(event, cx);
            Ok(())
        })
    }

    fn asynchronous(&self) -> impl AsyncCallbackHandler + use<> {
        let history = self.clone();
        async_handler_fn(async move |event: &Event, cx: &EventContext| {
            yield_now().await;
            history.write(event, cx);
            Ok(())
        })
    }

    /// Asserts that every run has its start and its one end, and both in the order of the tree.
    fn assert_is_whole(&self, handler: &str) {
        let seen = self.0.lock().unwrap();
        let (mut open, mut ended) = (BTreeMap::<RunId, &Seen>::new(), BTreeSet::new());
        for (at, event) in seen.iter().enumerate() {
            let place =
                || format!("{handler}: {} of {} at {at} in {seen:?}", event.kind, event.name);
            if event.kind.is_start() {
                let parent_is_open = event.parent.is_none_or(|parent| open.contains_key(&parent));
                assert!(parent_is_open, "before its parent: {}", place());
                assert!(open.insert(event.run, event).is_none(), "two starts: {}", place());
            }
            assert!(open.contains_key(&event.run), "outside of its run: {}", place());
            if event.kind.is_end() {
                let child = open.values().find(|child| child.parent == Some(event.run));
                assert!(child.is_none(), "before its child {child:?}: {}", place());
                open.remove(&event.run);
                assert!(ended.insert(event.run), "two ends: {}", place());
            }
        }
        assert!(open.is_empty(), "{handler}: no end of {:?} in {seen:?}", open.values());
    }

    /// How many runs it has seen the start of.
    fn starts(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|event| event.kind.is_start()).count()
    }

    /// The kinds of the ends that it has seen of runs of that name.
    fn ends_of(&self, name: &str) -> Vec<EventKind> {
        let seen = self.0.lock().unwrap();
        let of_run = seen.iter().filter(|event| event.name == name && event.kind.is_end());
        of_run.map(|event| event.kind).collect()
    }
}

/// A handler of every delivery, and what each has seen.
struct Forest {
    callbacks: CallbackManager,
    histories: Vec<(&'static str, History)>,
}

impl Forest {
    fn new(rt: &Rt) -> Self {
        let (mut callbacks, mut histories) = (rt.callbacks(), Vec::new());
        for (name, options) in SYNC {
            let history = History::default();
            callbacks = callbacks.with_handler_options(history.sync(), options());
            histories.push((name, history));
        }
        for (name, options) in ASYNC {
            let history = History::default();
            callbacks = callbacks.with_async_handler_options(history.asynchronous(), options());
            histories.push((name, history));
        }
        Self { callbacks, histories }
    }

    /// Waits until all is handled, and asserts that each handler saw so many runs, all of them in
    /// order.
    async fn assert_whole(&self, runs: usize) {
        self.callbacks.flush().await.unwrap();
        for (handler, history) in &self.histories {
            history.assert_is_whole(handler);
            assert_eq!(history.starts(), runs, "{handler}");
        }
    }

    /// As `assert_whole`, where the number of runs depends on when something was cut off.
    async fn assert_in_order(&self) {
        self.callbacks.flush().await.unwrap();
        for (handler, history) in &self.histories {
            history.assert_is_whole(handler);
        }
    }
}

/// Four runs, each the parent of the next one. All are open.
struct Family {
    chain: ChainRun,
    inner: ChainRun,
    tool: ToolRun,
    model: LlmRun,
}

impl Family {
    async fn new(callbacks: &CallbackManager) -> Self {
        let chain = chain(callbacks, "chain").await;
        let inner = super::chain(&chain.child(), "inner").await;
        let tool = tool(&inner.child(), "tool").await;
        let mut model = model(&tool.child(), "model").await;
        model.on_llm_new_token("a").await.unwrap();
        Self { chain, inner, tool, model }
    }

    /// What a handler sees of them up to here.
    const STARTS: [&str; 5] = [
        "chain: chain_start: 0",
        "inner: chain_start: 0",
        "tool: tool_start: input",
        "model: llm_start: prompt",
        "model: token: a",
    ];
    /// What it sees when the lower three are closed.
    const CLOSED: [&str; 3] = [
        "model: llm_error: cancelled: a",
        "tool: tool_error: cancelled",
        "inner: chain_error: cancelled",
    ];

    /// All of it, and the chain's end.
    fn lines(end: &'static str) -> Vec<&'static str> {
        [&Self::STARTS[..], &Self::CLOSED, &[end]].concat()
    }
}
