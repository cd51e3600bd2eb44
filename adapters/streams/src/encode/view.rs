//! What a front end shows of a request: texts, tool calls and steps. Both protocols of pages write
//! the same view, each in its words.

use std::collections::{HashMap, HashSet};

use rappel_core::record::EventRecord;
use rappel_core::{Event, FinishReason, LlmNewToken, LlmResult, RunError, RunId};
use serde_json::json;

use super::change::{Change, Outcome};
use crate::buffer::Lagged;
use crate::tokens::error_of;

#[derive(Debug, Default)]
pub(super) struct View {
    models: HashMap<RunId, Model>,
    /// The open tools: the id of the call, and whether a model announced it.
    tools: HashMap<RunId, (String, bool)>,
    /// The open steps, in the order of their start.
    steps: Vec<(RunId, String)>,
    /// The ids of calls that models announced.
    announced: HashSet<String>,
    /// The ids of calls whose input is complete. Some servers use an id again: the call is then not
    /// announced again.
    complete: HashSet<String>,
    roots: HashSet<RunId>,
    outcome: Option<Outcome>,
    reason: Option<FinishReason>,
    parts: u64,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Model {
    name: String,
    /// The model is inside a tool: its text is not the answer.
    is_hidden: bool,
    text: Option<String>,
    reasoning: Option<String>,
    has_text: bool,
    has_reasoning: bool,
    /// The calls that have begun, by their index.
    calls: HashMap<u32, BegunCall>,
}

#[derive(Debug, Default)]
struct BegunCall {
    id: Option<String>,
    name: String,
    arguments: String,
    is_begun: bool,
}

impl View {
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    fn new_id(&mut self, kind: &str) -> String {
        self.parts += 1;
        format!("{kind}-{}", self.parts)
    }

    pub(super) fn apply(&mut self, record: &EventRecord, changes: &mut Vec<Change>) {
        let Some(event) = &record.event else { return };
        if self.is_over {
            return;
        }
        if event.kind().is_start() && record.parent.is_none_or(|parent| !self.is_open(parent)) {
            self.roots.insert(record.run);
        }
        match event {
            Event::LlmStart(_) | Event::ChatModelStart(_) => self.model_start(record, changes),
            Event::LlmNewToken(token) => self.token(record.run, token, changes),
            Event::LlmEnd(end) => self.model_end(record.run, &end.result, None, changes),
            Event::LlmError(end) => {
                self.model_end(record.run, &end.partial, Some(&end.error), changes);
            }
            Event::ToolStart(start) => {
                let by_model =
                    start.tool_call_id.as_ref().is_some_and(|id| self.announced.contains(id));
                let id = start.tool_call_id.clone().unwrap_or_else(|| record.run.to_string());
                if self.complete.insert(id.clone()) {
                    // The tool may start before its model has ended.
                    for model in self.models.values_mut() {
                        model.calls.retain(|_, call| call.id.as_ref() != Some(&id));
                    }
                    changes.push(Change::Call {
                        id: id.clone(),
                        name: start.name.to_string(),
                        input: start.inputs.clone().unwrap_or_else(|| json!(start.input)),
                        arguments: match &start.inputs {
                            Some(inputs) => inputs.to_string(),
                            None => start.input.clone(),
                        },
                        streamed: by_model,
                        by_model,
                    });
                }
                self.tools.insert(record.run, (id, by_model));
            }
            Event::ToolEnd(end) => {
                if let Some((id, by_model)) = self.tools.remove(&record.run) {
                    changes.push(Change::Output { id, output: end.output.clone(), by_model });
                }
            }
            Event::ToolError(end) => {
                if let Some((id, by_model)) = self.tools.remove(&record.run) {
                    let error = end.error.to_string();
                    changes.push(Change::OutputError { id, error, by_model });
                }
            }
            Event::ChainStart(_) | Event::RetrieverStart(_) => {
                let name = record.about.as_ref().map_or("step", |about| &about.name);
                let name = self.unique_step(name);
                self.steps.push((record.run, name.clone()));
                changes.push(Change::StepStarted(name));
            }
            Event::ChainEnd(_)
            | Event::ChainError(_)
            | Event::RetrieverEnd(_)
            | Event::RetrieverError(_) => {
                if let Some(at) = self.steps.iter().position(|(run, _)| *run == record.run) {
                    changes.push(Change::StepFinished(self.steps.remove(at).1));
                }
            }
            Event::CustomEvent(custom) => changes
                .push(Change::Custom { name: custom.name.to_string(), data: custom.data.clone() }),
            _ => {}
        }
        if event.kind().is_end() && self.roots.remove(&record.run) {
            self.outcome = Some(match error_of(event) {
                None => Outcome::Finished(self.reason.clone()),
                Some(RunError::Cancelled) => Outcome::Cancelled,
                Some(error) => Outcome::Failed {
                    message: error.to_string(),
                    code: error.error_type().to_owned(),
                },
            });
        }
    }

    fn is_open(&self, run: RunId) -> bool {
        self.models.contains_key(&run)
            || self.tools.contains_key(&run)
            || self.steps.iter().any(|(open, _)| *open == run)
    }

    /// Two open steps never have one name.
    fn unique_step(&self, name: &str) -> String {
        let is_free = |name: &str| self.steps.iter().all(|(_, open)| open != name);
        if is_free(name) {
            return name.to_owned();
        }
        let mut numbered = (2u64..).map(|number| format!("{name} ({number})"));
        numbered.find(|name| is_free(name)).unwrap_or_default()
    }

    fn model_start(&mut self, record: &EventRecord, changes: &mut Vec<Change>) {
        let about = record.about.as_ref();
        let parents = about.map_or(&[][..], |about| &about.parents);
        let is_hidden = parents.iter().any(|parent| self.tools.contains_key(parent));
        if !is_hidden && self.models.values().all(|model| model.is_hidden) {
            changes.push(Change::ModelsOpen);
        }
        let name = about.map(|about| about.name.to_string()).unwrap_or_default();
        self.models.insert(record.run, Model { name, is_hidden, ..Model::default() });
    }

    fn token(&mut self, run: RunId, token: &LlmNewToken, changes: &mut Vec<Change>) {
        let Some(mut model) = self.models.remove(&run) else { return };
        if !model.is_hidden && token.choice() == 0 {
            self.reasoning(&mut model, token.reasoning(), changes);
            self.text(&mut model, &token.token, changes);
            for piece in token.tool_calls() {
                let call = model.calls.entry(piece.index).or_default();
                call.id = call.id.take().or_else(|| piece.id.clone());
                if let Some(name) = &piece.name
                    && call.name.is_empty()
                {
                    call.name.clone_from(name);
                }
                call.arguments.push_str(&piece.arguments);
                // A call is begun when its id and its name are known.
                let Some(id) = call.id.clone().filter(|_| !call.name.is_empty()) else { continue };
                if self.complete.contains(&id) {
                    continue;
                }
                let delta = match call.is_begun {
                    true => piece.arguments.clone(),
                    false => {
                        call.is_begun = true;
                        self.announced.insert(id.clone());
                        changes.push(Change::CallStart { id: id.clone(), name: call.name.clone() });
                        call.arguments.clone()
                    }
                };
                if !delta.is_empty() {
                    changes.push(Change::CallArguments { id, delta });
                }
            }
        }
        self.models.insert(run, model);
    }

    fn reasoning(&mut self, model: &mut Model, delta: &str, changes: &mut Vec<Change>) {
        if delta.is_empty() {
            return;
        }
        end_text(model, changes);
        model.has_reasoning = true;
        let id = model.reasoning.get_or_insert_with(|| {
            let id = self.new_id("reasoning");
            changes.push(Change::ReasoningStart(id.clone()));
            id
        });
        changes.push(Change::Reasoning(id.clone(), delta.to_owned()));
    }

    fn text(&mut self, model: &mut Model, delta: &str, changes: &mut Vec<Change>) {
        if delta.is_empty() {
            return;
        }
        end_reasoning(model, changes);
        model.has_text = true;
        let id = model.text.get_or_insert_with(|| {
            let id = self.new_id("text");
            changes.push(Change::TextStart(id.clone()));
            id
        });
        changes.push(Change::Text(id.clone(), delta.to_owned()));
    }

    fn model_end(
        &mut self,
        run: RunId,
        result: &LlmResult,
        error: Option<&RunError>,
        changes: &mut Vec<Change>,
    ) {
        let Some(mut model) = self.models.remove(&run) else { return };
        if !model.is_hidden {
            if let (Some(generation), None) = (result.generations.first(), error) {
                if !model.has_reasoning {
                    self.reasoning(&mut model, &generation.reasoning, changes);
                }
                if !model.has_text {
                    self.text(&mut model, &generation.text, changes);
                }
                end_text(&mut model, changes);
                end_reasoning(&mut model, changes);
                for (index, call) in generation.tool_calls.iter().enumerate() {
                    let begun = self.begun(&mut model, index, call.id.as_deref());
                    let id = call.id.clone().or_else(|| begun.as_ref()?.id.clone());
                    let id = id.unwrap_or_else(|| self.new_id("call"));
                    self.announced.insert(id.clone());
                    if !self.complete.insert(id.clone()) {
                        continue;
                    }
                    let streamed = begun.is_some_and(|begun| begun.is_begun);
                    let (name, arguments) = (call.name.clone(), call.arguments.clone());
                    changes.push(match call.parse_arguments() {
                        Ok(input) => {
                            Change::Call { id, name, input, arguments, streamed, by_model: true }
                        }
                        Err(error) => {
                            let error = format!("the arguments are not JSON: {error}");
                            Change::CallFailed { id, name, arguments, error, streamed }
                        }
                    });
                }
            }
            close_model(&mut model, error, changes);
            if error.is_none() {
                self.reason = result.finish_reason().cloned();
            }
            if self.models.values().all(|model| model.is_hidden) {
                changes.push(Change::ModelsClosed);
            }
        }
        if let Some(usage) = &result.usage {
            let name = result.model_name.clone().unwrap_or(model.name);
            changes.push(Change::Usage { model: name, usage: usage.clone() });
        }
    }

    /// Takes the begun call that is complete now.
    fn begun(&self, model: &mut Model, index: usize, id: Option<&str>) -> Option<BegunCall> {
        let same_id = model.calls.iter().find(|(_, call)| id.is_some() && call.id.as_deref() == id);
        let key = same_id.map_or(index as u32, |(key, _)| *key);
        model.calls.remove(&key)
    }

    /// Closes all that is open, and returns how the request ended.
    pub(super) fn close(&mut self, lagged: Option<Lagged>, changes: &mut Vec<Change>) -> Outcome {
        let is_complete = self.roots.is_empty();
        let had_models = self.models.values().any(|model| !model.is_hidden);
        let models: Vec<Model> = self.models.drain().map(|(_, model)| model).collect();
        for mut model in models {
            close_model(&mut model, None, changes);
        }
        for (_, (id, by_model)) in self.tools.drain() {
            let error = "the stream ended before the tool did".to_owned();
            changes.push(Change::OutputError { id, error, by_model });
        }
        if had_models {
            changes.push(Change::ModelsClosed);
        }
        for (_, name) in self.steps.drain(..).rev() {
            changes.push(Change::StepFinished(name));
        }
        self.is_over = true;
        let failed = |message: String, code: &str| Outcome::Failed { message, code: code.into() };
        match (lagged, self.outcome.take()) {
            (Some(lagged), _) => failed(lagged.to_string(), "lagged"),
            (None, Some(outcome)) if is_complete => outcome,
            (None, None) if is_complete => Outcome::Finished(None),
            _ => failed("the stream ended before its runs did".into(), "cut_short"),
        }
    }
}

fn end_text(model: &mut Model, changes: &mut Vec<Change>) {
    changes.extend(model.text.take().map(Change::TextEnd));
}

fn end_reasoning(model: &mut Model, changes: &mut Vec<Change>) {
    changes.extend(model.reasoning.take().map(Change::ReasoningEnd));
}

/// Closes what a model has open. Its calls that are not complete have failed.
fn close_model(model: &mut Model, error: Option<&RunError>, changes: &mut Vec<Change>) {
    end_text(model, changes);
    end_reasoning(model, changes);
    let mut calls: Vec<(u32, BegunCall)> = model.calls.drain().collect();
    calls.sort_by_key(|(index, _)| *index);
    for (_, call) in calls {
        if let (true, Some(id)) = (call.is_begun, call.id) {
            let error = error.map(ToString::to_string);
            let error = error.unwrap_or_else(|| "the model did not complete the call".into());
            let BegunCall { name, arguments, .. } = call;
            changes.push(Change::CallFailed { id, name, arguments, error, streamed: true });
        }
    }
}
