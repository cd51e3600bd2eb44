//! The words of a line.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use rappel_core::{
    Event, EventContext, LlmResult, RunError, RunKind, TokenUsage, Value, buffer_string, json,
};

use super::OpenRun;
use crate::{Prices, Tokens};

const NAME: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const NOTE: Style = AnsiColor::Yellow.on_default();

pub(super) fn dim(text: &str) -> String {
    styled(DIM, text)
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// The line of a start.
pub(super) fn start(event: &Event, cx: &EventContext, contents: Option<usize>) -> String {
    let (name, kind) = (clean(cx.name()), kind(cx.kind()));
    let mut line = format!("{} {} {}", dim("▶"), styled(NAME, &name), dim(kind));
    if let Some(input) = contents.and_then(|limit| cut(&input(event), limit)) {
        let _ = write!(line, "\n  {}", dim(&input));
    }
    line
}

/// The line of an end. In a tree it is the only line of the run, so it names the kind, too.
pub(super) fn end(
    event: &Event,
    cx: &EventContext,
    run: &OpenRun,
    prices: &Prices,
    contents: Option<usize>,
    in_tree: bool,
) -> String {
    let error = event.error();
    let (style, mark) = match error {
        None => (GOOD, "✓"),
        // A run that another process goes on with has not failed.
        Some(RunError::HandedOver) => (NOTE, "→"),
        Some(_) => (BAD, "✗"),
    };
    let mark = styled(style, mark);
    let mut line = format!("{mark} {}", styled(NAME, &clean(cx.name())));
    if in_tree {
        let _ = write!(line, " {}", dim(kind(cx.kind())));
    }
    let times = run.started.zip(cx.time());
    let mut facts: Vec<String> = Vec::new();
    facts.extend(times.map(|(start, end)| duration(end.saturating_sub(start))));
    if let Some((result, usage)) = result(event).and_then(|it| Some((it, it.usage.as_ref()?))) {
        facts.push(tokens(usage));
        facts.extend(cost(result, usage, run, prices));
    }
    if !facts.is_empty() {
        let _ = write!(line, " {}", facts.join(", "));
    }
    if let Some(error) = error {
        let _ = write!(line, " {}", styled(style, &clean(&error.to_string())));
    }
    let lost = cx.losses();
    if lost.dropped > 0 || lost.refused_runs > 0 {
        let lost = lost.dropped + lost.refused_runs;
        let _ = write!(line, " {}", styled(NOTE, &format!("({lost} events or runs not shown)")));
    }
    let output = contents.and_then(|limit| cut(&output(event)?, limit));
    if let Some(output) = output {
        let _ = write!(line, "\n  {}", dim(&output));
    }
    line
}

/// The line of another event. `None` if it is shown with contents only.
pub(super) fn note(event: &Event, contents: Option<usize>) -> Option<String> {
    let data = |data: String| {
        let data = contents.and_then(|limit| cut(&data, limit));
        data.map_or_else(String::new, |data| format!(" {}", dim(&data)))
    };
    Some(match event {
        Event::Retry(retry) => {
            let cause = clean(&retry.cause.to_string()).into_owned();
            let wait = duration(retry.wait);
            let text = format!("attempt {} failed, again in {wait}: {cause}", retry.attempt);
            format!("{} {text}", styled(NOTE, "↻"))
        }
        Event::AgentAction(action) => {
            let input = data(text(&action.tool_input));
            format!("{} {}{input}", dim("→"), styled(NAME, &clean(&action.tool)))
        }
        Event::AgentFinish(finish) => {
            format!("{} finished{}", dim("→"), data(text(&finish.return_values)))
        }
        Event::CustomEvent(event) => {
            format!("{} {}{}", dim("•"), clean(&event.name), data(text(&event.data)))
        }
        Event::Text(event) => cut(&event.text, contents?)?,
        _ => return None,
    })
}

fn kind(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Llm => "model",
        RunKind::ChatModel => "chat model",
        RunKind::Chain => "chain",
        RunKind::Tool => "tool",
        RunKind::Retriever => "retriever",
        _ => "",
    }
}

fn result(event: &Event) -> Option<&LlmResult> {
    match event {
        Event::LlmEnd(end) => Some(&end.result),
        Event::LlmError(end) => Some(&end.partial),
        _ => None,
    }
}

fn input(event: &Event) -> String {
    match event {
        Event::LlmStart(start) => start.prompt.clone(),
        Event::ChatModelStart(start) => buffer_string(&start.messages),
        Event::ChainStart(start) => text(&start.inputs),
        Event::ToolStart(start) => start.input.clone(),
        Event::RetrieverStart(start) => start.query.clone(),
        _ => String::new(),
    }
}

fn output(event: &Event) -> Option<String> {
    match event {
        Event::ChainEnd(end) => Some(text(&end.outputs)),
        Event::ToolEnd(end) => Some(text(&end.output)),
        Event::RetrieverEnd(end) => Some(json!(end.documents).to_string()),
        event => {
            let result = result(event)?;
            let calls = result.generations.iter().flat_map(|generation| &generation.tool_calls);
            let calls = calls.map(|call| format!(" {}({})", call.name, call.arguments));
            Some(result.text().to_owned() + &calls.collect::<String>())
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn tokens(usage: &TokenUsage) -> String {
    let tokens = Tokens::from(usage);
    let cached = match tokens.cached {
        0 => String::new(),
        cached => format!(" ({cached} cached)"),
    };
    format!("{}{cached} → {} tokens", tokens.input, tokens.output)
}

fn cost(result: &LlmResult, usage: &TokenUsage, run: &OpenRun, prices: &Prices) -> Option<String> {
    let asked = run.asked.as_ref()?;
    let model = result.model_name.as_deref().unwrap_or(&asked.model);
    let cost = prices.cost(asked.provider.as_deref(), model, &Tokens::from(usage))?;
    Some(dollars(cost))
}

/// Two significant digits, and at least cents.
fn dollars(cost: f64) -> String {
    if cost == 0.0 {
        return "$0.00".into();
    }
    let first_digit = -cost.abs().log10().floor();
    let decimals = (first_digit + 1.0).clamp(2.0, 12.0) as usize;
    format!("${cost:.decimals$}")
}

fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.2} s", duration.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Replaces control characters, so that text stays on its line and cannot change the terminal.
fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let replace = |c: char| match c {
        '\n' | '\t' => ' ',
        c if is_control(c) => '\u{fffd}',
        c => c,
    };
    Cow::Owned(text.chars().filter(|c| *c != '\r').map(replace).collect())
}

/// Control characters, and those that change the direction of text.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Cleans a text and cuts it to so many characters. `None` if it is empty.
fn cut(text: &str, limit: usize) -> Option<String> {
    let text = text.trim();
    let end = text.char_indices().nth(limit).map_or(text.len(), |(end, _)| end);
    let dots = if end < text.len() { "…" } else { "" };
    (end > 0).then(|| clean(&text[..end]).into_owned() + dots)
}
