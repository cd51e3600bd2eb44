//! The counterparts of LangChain's handlers in `docs/handlers.md` compile as they stand there.

use std::fs::{self, File};
use std::io;

use rappel_core::prelude::*;
use rappel_handlers::{
    Budget, Collector, Console, Filter, FinalAnswer, Gate, JsonLines, PerTrace, Prices,
    StreamingStdout, Usage, With,
};
use rappel_testkit::{Answer, ScriptedChatModel};

use crate::support::callbacks;

fn prices() -> Prices {
    #[cfg(feature = "prices")]
    return Prices::bundled();
    #[cfg(not(feature = "prices"))]
    return Prices::new();
}

#[test]
fn each_counterpart_registers_in_one_line() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let (usage, collector) = (Usage::with_prices(prices()), Collector::new(100));
    let callbacks = callbacks()
        .with(Console::to(io::sink()).contents(200))
        .with(StreamingStdout::to(io::sink()))
        .with(Console::to(File::create(path("run.log"))?).contents(200))
        .with(JsonLines::append(path("run.jsonl"))?)
        .with(usage.clone())
        .with(collector.clone())
        .with_handler(
            Filter::new(handler_fn(|_, _| Ok(()))).matching(|run| run.parent_id().is_none()),
        )
        .with(FinalAnswer::new(StreamingStdout::to(io::sink())))
        .with(Gate::tools(async |_event, _cx| Ok(())))
        .with(Gate::models(async |_event, _cx| Ok(())))
        .with(Budget::new().tokens(100_000))
        .with(PerTrace::new(|_: &RunInfo| handler_fn(|_, _| Ok(()))))
        .with(JsonLines::to(io::sink()));
    let model = ScriptedChatModel::new([Answer::text("a"), Answer::text("b")]);
    let model = model.callbacks(callbacks.clone());
    futures_executor::block_on(async {
        let (answer, _usage) = Usage::scope(model.invoke("one")).await;
        answer?;
        let (answer, _usage) = Usage::scope_with(prices(), model.invoke("two")).await;
        answer
    })?;
    assert_eq!(collector.take().len(), 2);
    assert_eq!(usage.report().total().unmeasured, 2);
    assert!(fs::read_to_string(path("run.log"))?.contains("✓ scripted"));
    assert!(callbacks.stats().iter().all(|stats| stats.failed == 0));
    Ok(())
}
