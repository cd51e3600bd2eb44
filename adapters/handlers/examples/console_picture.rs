//! Writes the README's picture of `Console` as SVG. Its clock is fixed, so the picture is the same
//! each time.
//!
//!     cargo run -q -p rappel-handlers --example console_picture > docs/console.svg

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rappel_core::{Clock, Entropy};
use rappel_handlers::{Console, Price, Prices, With};
use rappel_threads::prelude::*;

/// A clock that the scene sets.
#[derive(Clone, Default)]
struct Stage(Arc<Mutex<Duration>>);

impl Stage {
    fn pass(&self, millis: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += Duration::from_millis(millis);
    }
}

impl Clock for Stage {
    fn now(&self) -> Option<Duration> {
        Some(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Numbers instead of random bytes.
#[derive(Default)]
struct Numbers(Mutex<u8>);

impl Entropy for Numbers {
    fn fill(&self, bytes: &mut [u8]) {
        let mut number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *number += 1;
        bytes.fill(*number);
    }
}

/// Lines that the example reads afterwards.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (stage, lines) = (Stage::default(), Lines::default());
    let prices = Prices::new().with("gpt-4o-mini", Price::per_million(0.15, 0.6));
    let console = Console::to(lines.clone()).colors(true).grouped().prices(prices);
    let callbacks =
        CallbackManager::with_sources(Threads::new(), stage.clone(), Numbers::default())
            .with(console);
    scene(&callbacks, &stage)?;

    let bytes = lines.0.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(&bytes);
    print!("{}", anstyle_svg::Term::new().render_svg(&text));
    Ok(())
}

fn scene(callbacks: &CallbackManager, stage: &Stage) -> Result<(), RunError> {
    let mut agent = callbacks.on_chain_start(ChainStart::new("travel-agent", "Paris?")).wait()?;
    let inside = agent.child();
    let search = inside.on_retriever_start(RetrieverStart::new("travel-guides", "Paris")).wait()?;
    stage.pass(84);
    search.end(vec![Document::new("Paris in spring")]).wait()?;

    let question = vec![Message::human("Paris?")];
    let start = ChatModelStart::new("gpt-4o-mini", question);
    let mut model = inside.on_chat_model_start(start).wait()?;
    stage.pass(130);
    model.on_retry(Retry::new(1, "429 Too Many Requests", Duration::from_millis(500))).wait()?;
    stage.pass(1480);
    let usage = TokenUsage::new(1812, 48).with_cached_tokens(1536);
    model.end(LlmResult::from_text("I ask for the weather").with_usage(usage)).wait()?;

    agent.on_agent_action(AgentAction::new("weather", "Paris", "")).wait()?;
    let tool = inside.on_tool_start(ToolStart::new("weather", "Paris")).wait()?;
    stage.pass(5000);
    tool.fail("no answer within 5 s").wait()?;

    let model = inside.on_llm_start(LlmStart::new("gpt-4o-mini", "Paris?")).wait()?;
    stage.pass(910);
    let usage = TokenUsage::new(1903, 120);
    model.end(LlmResult::from_text("Take an umbrella").with_usage(usage)).wait()?;
    agent.end("Take an umbrella").wait()?;
    Ok(())
}
