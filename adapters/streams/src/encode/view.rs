//! What a front end shows of a request: texts, tool calls and steps. Both protocols of pages write
//! the same view, each in its words.

use std::collections::{HashMap, HashSet};

use rappel_core::record::EventRecord;
use rappel_core::{
    Event, FinishReason, LlmNewToken, LlmResult, RunError, RunId, ToolCall, ToolCallChunk,
    ToolStart,
};
use serde_json::json;

use super::calls::Calls;
use super::change::{Change, Outcome};
use super::model::{BegunCall, Model};
use crate::buffer::Lagged;
use crate::tokens::error_of;

#[derive(Debug, Default)]
pub(super) struct View {
    models: HashMap<RunId, Model>,
    /// The open tools: the id of the call, and whether a model announced it.
    tools: HashMap<RunId, (String, bool)>,
    /// The open steps, in the order of their start.
    steps: Vec<(RunId, String)>,
    calls: Calls,
    roots: HashSet<RunId>,
    outcome: Option<Outcome>,
    reason: Option<FinishReason>,
    /// What the ids of texts and reasoning begin with.
    prefix: String,
    parts: u64,
    is_over: bool,
}

impl View {
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Sets what the ids of texts and reasoning begin with.
    pub(super) fn set_prefix(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    fn new_id(&mut self, kind: &str) -> String {
        self.parts += 1;
        format!("{}{kind}-{}", self.prefix, self.parts)
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
            Event::Retry(retry) => self.retry(record.run, &retry.cause.to_string(), changes),
            Event::ToolStart(start) => self.tool_start(record, start, changes),
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
        let parent = record.parent;
        self.models.insert(record.run, Model { name, parent, is_hidden, ..Model::default() });
    }

    fn tool_start(&mut self, record: &EventRecord, start: &ToolStart, changes: &mut Vec<Change>) {
        let announced = match &start.tool_call_id {
            Some(id) => self.calls.take(id, record.parent),
            None => None,
        };
        let by_model = announced.is_some();
        let (id, is_complete) = match (announced, &start.tool_call_id) {
            (Some(call), _) => (call.id, call.is_complete),
            (None, Some(server_id)) => {
                for model in self.models.values_mut() {
                    model.early.insert(server_id.clone());
                }
                (self.calls.new_id(server_id), false)
            }
            (None, None) => (self.calls.new_id(&record.run.to_string()), false),
        };
        if !is_complete {
            // The tool may start before its model has ended.
            let begun = self.models.values_mut().flat_map(|model| model.calls.values_mut());
            for call in begun.filter(|call| call.id.as_ref() == Some(&id)) {
                call.is_done = true;
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

    /// An attempt of a model has failed. The next one has parts of its own.
    fn retry(&mut self, run: RunId, why: &str, changes: &mut Vec<Change>) {
        let Some(mut model) = self.models.remove(&run) else { return };
        self.close_model(&mut model, why, changes);
        let Model { name, parent, is_hidden, .. } = model;
        self.models.insert(run, Model { name, parent, is_hidden, ..Model::default() });
    }

    fn token(&mut self, run: RunId, token: &LlmNewToken, changes: &mut Vec<Change>) {
        let Some(mut model) = self.models.remove(&run) else { return };
        if !model.is_hidden && token.choice() == 0 {
            self.reasoning(&mut model, token.reasoning(), changes);
            self.text(&mut model, &token.token, changes);
            for piece in token.tool_calls() {
                self.piece(&mut model, piece, changes);
            }
        }
        self.models.insert(run, model);
    }

    /// A piece of a tool call.
    fn piece(&mut self, model: &mut Model, piece: &ToolCallChunk, changes: &mut Vec<Change>) {
        let call = model.calls.entry(piece.index).or_default();
        call.server_id = call.server_id.take().or_else(|| piece.id.clone());
        if let Some(name) = &piece.name
            && call.name.is_empty()
        {
            call.name.clone_from(name);
        }
        call.arguments.push_str(&piece.arguments);
        // A call is announced when its id and its name are known.
        let Some(server_id) = call.server_id.as_ref().filter(|_| !call.name.is_empty()) else {
            return;
        };
        call.is_done |= call.id.is_none() && model.early.contains(server_id);
        if call.is_done {
            return;
        }
        let (id, delta) = match &call.id {
            Some(id) => (id.clone(), piece.arguments.clone()),
            None => {
                let id = self.calls.announce(server_id, model.parent);
                call.id = Some(id.clone());
                changes.push(Change::CallStart { id: id.clone(), name: call.name.clone() });
                (id, call.arguments.clone())
            }
        };
        if !delta.is_empty() {
            changes.push(Change::CallArguments { id, delta });
        }
    }

    fn reasoning(&mut self, model: &mut Model, delta: &str, changes: &mut Vec<Change>) {
        if delta.is_empty() {
            return;
        }
        model.end_text(changes);
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
        model.end_reasoning(changes);
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
                model.end_text(changes);
                model.end_reasoning(changes);
                for (index, call) in generation.tool_calls.iter().enumerate() {
                    self.call(run, &mut model, index, call, changes);
                }
            }
            let why = error.map(ToString::to_string);
            let why = why.as_deref().unwrap_or("the model did not complete the call");
            self.close_model(&mut model, why, changes);
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

    /// A call of a model that has ended.
    fn call(
        &mut self,
        run: RunId,
        model: &mut Model,
        index: usize,
        call: &ToolCall,
        changes: &mut Vec<Change>,
    ) {
        let begun = model.take_begun(index, call.id.as_deref()).unwrap_or_default();
        let server_id = call.id.clone().or(begun.server_id);
        let is_early = server_id.as_ref().is_some_and(|id| model.early.contains(id));
        let streamed = begun.id.is_some();
        if begun.is_done || (is_early && !streamed) {
            return;
        }
        let id = begun.id.unwrap_or_else(|| {
            let server_id = server_id.unwrap_or_else(|| run.to_string());
            self.calls.announce(&server_id, model.parent)
        });
        let (name, arguments) = (call.name.clone(), call.arguments.clone());
        changes.push(match call.parse_arguments() {
            Ok(input) => {
                self.calls.complete(&id);
                Change::Call { id, name, input, arguments, streamed, by_model: true }
            }
            Err(error) => {
                self.calls.remove(&id);
                let error = format!("the arguments are not JSON: {error}");
                Change::CallFailed { id, name, arguments, error, streamed }
            }
        });
    }

    /// Closes what a model has open. Its calls that are not complete have failed.
    fn close_model(&mut self, model: &mut Model, why: &str, changes: &mut Vec<Change>) {
        model.end_text(changes);
        model.end_reasoning(changes);
        let mut calls: Vec<(u32, BegunCall)> = model.calls.drain().collect();
        calls.sort_by_key(|(index, _)| *index);
        for (_, call) in calls {
            if let (false, Some(id)) = (call.is_done, call.id) {
                self.calls.remove(&id);
                let (error, name, arguments) = (why.to_owned(), call.name, call.arguments);
                changes.push(Change::CallFailed { id, name, arguments, error, streamed: true });
            }
        }
    }

    /// Closes all that is open, and returns how the request ended.
    pub(super) fn close(&mut self, lagged: Option<Lagged>, changes: &mut Vec<Change>) -> Outcome {
        let outcome = self.outcome(lagged);
        let had_models = self.models.values().any(|model| !model.is_hidden);
        let models: Vec<Model> = self.models.drain().map(|(_, model)| model).collect();
        for mut model in models {
            self.close_model(&mut model, "the stream ended before the model did", changes);
        }
        for (_, (id, by_model)) in self.tools.drain() {
            let error = "the stream ended before the tool did".to_owned();
            changes.push(Change::OutputError { id, error, by_model });
        }
        // If the request succeeded, these are calls that the page answers.
        if !matches!(outcome, Outcome::Finished(_)) {
            for call in self.calls.take_all() {
                let error = "the request ended before a tool ran".to_owned();
                changes.push(Change::OutputError { id: call.id, error, by_model: true });
            }
        }
        if had_models {
            changes.push(Change::ModelsClosed);
        }
        for (_, name) in self.steps.drain(..).rev() {
            changes.push(Change::StepFinished(name));
        }
        self.is_over = true;
        outcome
    }

    fn outcome(&mut self, lagged: Option<Lagged>) -> Outcome {
        let is_complete = self.roots.is_empty();
        let failed = |message: String, code: &str| Outcome::Failed { message, code: code.into() };
        match (lagged, self.outcome.take()) {
            (Some(lagged), _) => failed(lagged.to_string(), "lagged"),
            (None, Some(outcome)) if is_complete => outcome,
            (None, None) if is_complete => Outcome::Finished(None),
            _ => failed("the stream ended before its runs did".into(), "cut_short"),
        }
    }
}
