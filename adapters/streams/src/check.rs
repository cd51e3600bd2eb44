//! Finds out whether the body of a response keeps the rules of its protocol: for tests of servers.
//!
//! The clients of these protocols accept some broken bodies silently: a stream that is cut in the
//! middle of a text, for example. These functions do not.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// What is wrong with a body, with the part's number from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("part {part}: {what}")]
#[non_exhaustive]
pub struct Flaw {
    /// The number of the part. The number of parts, if something is missing at the end.
    pub part: usize,
    /// What is wrong.
    pub what: String,
}

/// Reads the data of all server-sent events of a body. Comments are skipped.
///
/// # Errors
/// A line that is neither data nor a comment, or a body that does not end with a blank line.
pub fn sse_data(body: &str) -> Result<Vec<&str>, Flaw> {
    let mut data = Vec::new();
    if !body.is_empty() && !body.ends_with("\n\n") {
        return Err(Flaw { part: 0, what: "the body does not end with a blank line".into() });
    }
    for frame in body.split_terminator("\n\n") {
        match frame.strip_prefix("data: ") {
            Some(text) if !text.contains('\n') => data.push(text),
            None if frame.starts_with(':') && !frame.contains('\n') => {}
            _ => {
                let what = format!("{frame:?} is neither one line of data nor a comment");
                return Err(Flaw { part: data.len(), what });
            }
        }
    }
    Ok(data)
}

/// Checks the body of an AI SDK UI message stream, version 1: every text, reasoning and step is
/// opened once and closed, each tool call has at most one output, after its input, exactly one part
/// of `finish`, `abort` and `error` is the last one, and `[DONE]` follows. If the last part is
/// `abort` with the reason `handed_over`, the input of a tool call may be incomplete.
///
/// # Errors
/// The first rule that is broken.
pub fn ui_message_stream(body: &str) -> Result<(), Flaw> {
    let mut data = sse_data(body)?;
    let end = data.len();
    if data.pop() != Some("[DONE]") {
        return Err(Flaw { part: end, what: "the last data is not [DONE]".into() });
    }
    let mut rules = Rules::default();
    run(&data, |part, kind| rules.ui_part(part, kind))?;
    rules.end(data.len())
}

/// Checks the body of an AG-UI 1.0 response: `RUN_STARTED` is the first event, every message,
/// reasoning, step and tool call is opened once and closed, a step's name is open once, a call has
/// at most one result, after its input, and exactly one of `RUN_FINISHED` and `RUN_ERROR` is the
/// last event.
///
/// # Errors
/// The first rule that is broken.
pub fn ag_ui(body: &str) -> Result<(), Flaw> {
    let data = sse_data(body)?;
    let mut rules = Rules::default();
    run(&data, |part, kind| rules.ag_ui_event(part, kind))?;
    rules.end(data.len())
}

type Rule = Result<(), String>;

fn run(data: &[&str], mut rule: impl FnMut(&Value, &str) -> Rule) -> Result<(), Flaw> {
    for (number, text) in data.iter().enumerate() {
        let flaw = |what: String| Flaw { part: number, what: format!("{what}, in {text}") };
        let part: Value = serde_json::from_str(text).map_err(|error| flaw(error.to_string()))?;
        let kind = part["type"].as_str().ok_or_else(|| flaw("it has no type".into()))?;
        rule(&part, kind).map_err(flaw)?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Rules {
    is_started: bool,
    is_over: bool,
    /// What is open: its kind and its id.
    open: HashSet<(&'static str, String)>,
    used: HashSet<(&'static str, String)>,
    /// The tool calls, and whether their input is complete.
    calls: HashMap<String, bool>,
    /// The tool calls that have an output.
    answered: HashSet<String>,
}

impl Rules {
    fn begin(&mut self, is_start: bool) -> Rule {
        if self.is_over {
            return Err("it comes after the last part".into());
        }
        if is_start == self.is_started {
            return Err(if is_start { "it starts again" } else { "nothing has started" }.into());
        }
        self.is_started = true;
        Ok(())
    }

    fn open(&mut self, kind: &'static str, id: &str, unique: bool) -> Rule {
        let key = (kind, id.to_owned());
        if unique && !self.used.insert(key.clone()) {
            return Err(format!("the {kind} {id:?} is used twice"));
        }
        match self.open.insert(key) {
            true => Ok(()),
            false => Err(format!("the {kind} {id:?} is open")),
        }
    }

    fn is_open(&self, kind: &'static str, id: &str) -> Rule {
        match self.open.contains(&(kind, id.to_owned())) {
            true => Ok(()),
            false => Err(format!("the {kind} {id:?} is not open")),
        }
    }

    fn close(&mut self, kind: &'static str, id: &str) -> Rule {
        self.is_open(kind, id)?;
        self.open.remove(&(kind, id.to_owned()));
        Ok(())
    }

    fn terminal(&mut self) -> Rule {
        self.is_over = true;
        match self.open.iter().min() {
            Some((kind, id)) => Err(format!("the {kind} {id:?} is open at the end")),
            None => Ok(()),
        }
    }

    fn call_complete(&mut self, id: &str) -> Rule {
        if self.calls.insert(id.to_owned(), true) == Some(true) {
            return Err(format!("the call {id:?} is complete already"));
        }
        self.open.remove(&("call", id.to_owned()));
        Ok(())
    }

    fn has_input(&self, id: &str) -> Rule {
        match self.calls.get(id) {
            Some(true) => Ok(()),
            _ => Err(format!("the call {id:?} has an output before its input")),
        }
    }

    fn output(&mut self, id: &str) -> Rule {
        self.has_input(id)?;
        match self.answered.insert(id.to_owned()) {
            true => Ok(()),
            false => Err(format!("the call {id:?} has a second output")),
        }
    }

    fn end(&self, parts: usize) -> Result<(), Flaw> {
        match self.is_over {
            true => Ok(()),
            false => Err(Flaw { part: parts, what: "the last part is missing".into() }),
        }
    }

    fn ui_part(&mut self, part: &Value, kind: &str) -> Rule {
        self.begin(kind == "start")?;
        let id = || text(part, "id");
        let call = || text(part, "toolCallId");
        match kind {
            "start" => Ok(()),
            "start-step" => self.open("step", "", false),
            "finish-step" => {
                self.close("step", "")?;
                match self.open.iter().find(|(kind, _)| *kind != "call") {
                    Some((kind, id)) => Err(format!("the {kind} {id:?} is open in this step")),
                    None => Ok(()),
                }
            }
            "text-start" => self.open("text", id()?, true),
            "text-delta" => text(part, "delta").and(self.is_open("text", id()?)),
            "text-end" => self.close("text", id()?),
            "reasoning-start" => self.open("reasoning", id()?, true),
            "reasoning-delta" => text(part, "delta").and(self.is_open("reasoning", id()?)),
            "reasoning-end" => self.close("reasoning", id()?),
            "tool-input-start" => {
                text(part, "toolName")?;
                self.calls.insert(call()?.to_owned(), false);
                self.open("call", call()?, true)
            }
            "tool-input-delta" => text(part, "inputTextDelta").and(self.is_open("call", call()?)),
            "tool-input-available" => {
                text(part, "toolName")?;
                self.call_complete(call()?)
            }
            "tool-input-error" => {
                text(part, "toolName").and(text(part, "errorText"))?;
                self.call_complete(call()?)?;
                self.output(call()?)
            }
            "tool-output-available" if part["preliminary"] == true => self.has_input(call()?),
            "tool-output-available" => self.output(call()?),
            "tool-output-error" => text(part, "errorText").and(self.output(call()?)),
            "message-metadata" => Ok(()),
            "finish" => {
                let known = ["stop", "length", "content-filter", "tool-calls", "error", "other"];
                match known.contains(&text(part, "finishReason")?) {
                    true => self.terminal(),
                    false => Err("the reason is unknown".into()),
                }
            }
            "abort" => {
                if part["reason"] == "handed_over" {
                    self.open.retain(|(kind, _)| *kind != "call");
                }
                self.terminal()
            }
            "error" => text(part, "errorText").and(self.terminal()),
            data if data.starts_with("data-") => Ok(()),
            _ => Err("the type is unknown".into()),
        }
    }

    fn ag_ui_event(&mut self, part: &Value, kind: &str) -> Rule {
        self.begin(kind == "RUN_STARTED")?;
        let message = || text(part, "messageId");
        let step = || text(part, "stepName");
        let call = || text(part, "toolCallId");
        let delta = || match text(part, "delta")? {
            "" => Err("the delta is empty".to_owned()),
            _ => Ok(()),
        };
        match kind {
            "RUN_STARTED" => text(part, "threadId").and(text(part, "runId")).map(drop),
            "STEP_STARTED" => self.open("step", step()?, false),
            "STEP_FINISHED" => self.close("step", step()?),
            "TEXT_MESSAGE_START" => self.open("message", message()?, true),
            "TEXT_MESSAGE_CONTENT" => delta().and(self.is_open("message", message()?)),
            "TEXT_MESSAGE_END" => self.close("message", message()?),
            "REASONING_START" => self.open("reasoning", message()?, true),
            "REASONING_MESSAGE_START" => self.open("reasoning message", message()?, true),
            "REASONING_MESSAGE_CONTENT" => {
                delta().and(self.is_open("reasoning message", message()?))
            }
            "REASONING_MESSAGE_END" => self.close("reasoning message", message()?),
            "REASONING_END" => self.close("reasoning", message()?),
            "TOOL_CALL_START" => {
                text(part, "toolCallName")?;
                self.calls.insert(call()?.to_owned(), false);
                self.open("call", call()?, true)
            }
            "TOOL_CALL_ARGS" => delta().and(self.is_open("call", call()?)),
            "TOOL_CALL_END" => self.is_open("call", call()?).and(self.call_complete(call()?)),
            "TOOL_CALL_RESULT" => text(part, "content").and(self.output(call()?)),
            "CUSTOM" => text(part, "name").map(drop),
            "RUN_FINISHED" => match part["outcome"]["type"].as_str() {
                Some("success" | "cancelled") => self.terminal(),
                _ => Err("the outcome is unknown".into()),
            },
            "RUN_ERROR" => text(part, "message").and(self.terminal()),
            _ => Err("the type is unknown".into()),
        }
    }
}

fn text<'a>(part: &'a Value, field: &str) -> Result<&'a str, String> {
    part[field].as_str().ok_or_else(|| format!("`{field}` is no text"))
}
