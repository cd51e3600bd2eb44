//! Handlers of every delivery that loses nothing, each with a log of its own.

use super::*;

/// Makes a handler's options.
pub(super) type Options = fn() -> HandlerOptions;

/// Each way to register a sync handler that loses nothing.
pub(super) const SYNC: [(&str, Options); 5] = [
    ("sync", HandlerOptions::new),
    ("sync, inline", || Awaited::new().inline().into()),
    ("sync, narrow", || Pipelined::new(1).into()),
    ("sync, wide", || Pipelined::new(64).into()),
    ("sync, background", background),
];

/// Each way to register an async handler that loses nothing.
pub(super) const ASYNC: [(&str, Options); 6] = [
    ("async", HandlerOptions::new),
    ("async, inline", || Awaited::new().inline().into()),
    ("async, on the runtime", || HandlerOptions::new().on_runtime()),
    ("async, narrow", || Pipelined::new(1).into()),
    ("async, wide", || Pipelined::new(64).into()),
    ("async, background", background),
];

fn background() -> HandlerOptions {
    Background::new(4).open_traces(1_000).overflow(Overflow::Wait).into()
}

/// A manager with a handler for each delivery, and their logs.
pub(super) struct Watched {
    pub(super) callbacks: CallbackManager,
    pub(super) logs: Vec<(&'static str, Log)>,
}

impl Watched {
    pub(super) fn new(rt: &Rt) -> Self {
        Self::on(rt.callbacks())
    }

    /// Adds the handlers to `callbacks`.
    pub(super) fn on(mut callbacks: CallbackManager) -> Self {
        let mut logs = Vec::new();
        for (name, options) in SYNC {
            let log = Log::new();
            callbacks = callbacks.with_handler_options(sync(log.clone()), options().name(name));
            logs.push((name, log));
        }
        for (name, options) in ASYNC {
            let log = Log::new();
            let handler = asynchronous(log.clone());
            callbacks = callbacks.with_async_handler_options(handler, options().name(name));
            logs.push((name, log));
        }
        Self { callbacks, logs }
    }

    /// What each handler saw of the run of that name.
    pub(super) fn of(&self, run: &str) -> Vec<(&'static str, Vec<String>)> {
        let of = |log: &Log| {
            let lines = log.lines().into_iter();
            lines
                .filter_map(|line| Some(line.strip_prefix(run)?.strip_prefix(": ")?.to_owned()))
                .collect()
        };
        self.logs.iter().map(|(name, log)| (*name, of(log))).collect()
    }

    /// Asserts that every handler saw exactly these events.
    pub(super) fn assert_all_saw(&self, expected: &[&str]) {
        for (name, log) in &self.logs {
            assert_eq!(log.lines(), expected, "{name}");
        }
    }
}

/// Writes the name of the run and the event.
pub(super) fn sync(log: Log) -> impl CallbackHandler + Send {
    handler_fn(move |event: &Event, cx: &EventContext| {
        log.write(format!("{}: {}", cx.name(), line(event)));
        Ok(())
    })
}

/// Writes the same. It yields in each call, so that the call takes more than one poll.
pub(super) fn asynchronous(log: Log) -> impl AsyncCallbackHandler {
    async_handler_fn(async move |event: &Event, cx: &EventContext| {
        yield_now().await;
        log.write(format!("{}: {}", cx.name(), line(event)));
        Ok(())
    })
}
