//! What a front end shows of a request: texts, tool calls and steps. Both protocols of pages write
//! the same view, each in its words.

use std::collections::{BTreeMap, BTreeSet};

use rappel_core::record::EventRecord;
use rappel_core::{Event, FinishReason, LlmNewToken, LlmResult, RunError, RunId, ToolStart};
use serde_json::json;

use super::change::{Change, Changes, Outcome};
use super::ids::Ids;
use super::model::{BrokenCall, Model};
use crate::buffer::Lagged;

#[derive(Debug, Default)]
pub(super) struct View {
    models: BTreeMap<RunId, Box<Model>>,
    /// The open tools: the id of the call, and whether a model announced it.
    tools: BTreeMap<RunId, (String, bool)>,
    /// The calls that broke off because another process goes on with their model.
    broken: Vec<BrokenCall>,
    /// The open steps, in the order of their start.
    steps: Vec<(RunId, String)>,
    roots: BTreeSet<RunId>,
    outcome: Option<Outcome>,
    reason: Option<FinishReason>,
    ids: Ids,
    is_over: bool,
}

impl View {
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Sets what the ids of texts and reasoning begin with.
    pub(super) fn set_prefix(&mut self, prefix: String) {
        self.ids.set_prefix(prefix);
    }

    pub(super) fn apply(&mut self, record: &EventRecord, changes: &mut Changes<'_>) {
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
                    changes(Change::Output { id: &id, output: &end.output, by_model });
                }
            }
            // The end of the request decides about the call.
            Event::ToolError(end) if matches!(end.error, RunError::HandedOver) => {}
            Event::ToolError(end) => {
                if let Some((id, by_model)) = self.tools.remove(&record.run) {
                    let error = &end.error.to_string();
                    changes(Change::OutputError { id: &id, error, by_model });
                }
            }
            Event::ChainStart(_) | Event::RetrieverStart(_) => {
                let name = record.about.as_ref().map_or("step", |about| &about.name);
                let name = self.unique_step(name);
                changes(Change::StepStarted(&name));
                self.steps.push((record.run, name));
            }
            Event::ChainEnd(_)
            | Event::ChainError(_)
            | Event::RetrieverEnd(_)
            | Event::RetrieverError(_) => {
                if let Some(at) = self.steps.iter().position(|(run, _)| *run == record.run) {
                    changes(Change::StepFinished(&self.steps.remove(at).1));
                }
            }
            Event::CustomEvent(custom) => {
                changes(Change::Custom { name: &custom.name, data: &custom.data });
            }
            _ => {}
        }
        if event.kind().is_end() && self.roots.remove(&record.run) {
            self.outcome = Some(match event.error() {
                None => Outcome::Finished(self.reason.clone()),
                Some(RunError::Cancelled) => Outcome::Cancelled,
                Some(RunError::HandedOver) => Outcome::HandedOver,
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

    fn model_start(&mut self, record: &EventRecord, changes: &mut Changes<'_>) {
        let about = record.about.as_ref();
        let parents = about.map_or(&[][..], |about| &about.parents);
        let is_hidden = parents.iter().any(|parent| self.tools.contains_key(parent));
        if !is_hidden && self.models.values().all(|model| model.is_hidden) {
            changes(Change::ModelsOpen);
        }
        let name = about.map(|about| about.name.to_string()).unwrap_or_default();
        let parent = record.parent;
        self.models.insert(record.run, Box::new(Model::new(name, parent, is_hidden)));
    }

    fn tool_start(&mut self, record: &EventRecord, start: &ToolStart, changes: &mut Changes<'_>) {
        let announced = match &start.tool_call_id {
            Some(id) => self.ids.take(id, record.parent),
            None => None,
        };
        let by_model = announced.is_some();
        let (id, is_complete) = match (announced, &start.tool_call_id) {
            (Some(call), _) => (call.id, call.is_complete),
            (None, Some(server_id)) => {
                for model in self.models.values_mut() {
                    model.early.insert(server_id.clone());
                }
                (self.ids.new_call(server_id), false)
            }
            (None, None) => (self.ids.new_call(&record.run.to_string()), false),
        };
        if !is_complete {
            // The tool may start before its model has ended.
            let begun = self.models.values_mut().flat_map(|model| model.calls.values_mut());
            for call in begun.filter(|call| call.id.as_ref() == Some(&id)) {
                call.is_done = true;
            }
            let (input, arguments) = match &start.inputs {
                Some(inputs) => (inputs, &inputs.to_string()),
                None => (&json!(start.input), &start.input),
            };
            let (id, name, streamed) = (&*id, &*start.name, by_model);
            changes(Change::Call { id, name, input, arguments, streamed, by_model });
        }
        self.tools.insert(record.run, (id, by_model));
    }

    /// An attempt of a model has failed. The next one has parts of its own.
    fn retry(&mut self, run: RunId, why: &str, changes: &mut Changes<'_>) {
        if let Some(model) = self.models.get_mut(&run) {
            model.close(why, &mut self.ids, changes);
            model.begin_again();
        }
    }

    fn token(&mut self, run: RunId, token: &LlmNewToken, changes: &mut Changes<'_>) {
        let Some(model) = self.models.get_mut(&run) else { return };
        if !model.is_hidden && token.choice() == 0 {
            model.token(token, &mut self.ids, changes);
        }
    }

    fn model_end(
        &mut self,
        run: RunId,
        result: &LlmResult,
        error: Option<&RunError>,
        changes: &mut Changes<'_>,
    ) {
        let Some(mut model) = self.models.remove(&run) else { return };
        let is_handed_over = matches!(error, Some(RunError::HandedOver));
        if !model.is_hidden {
            if let (Some(generation), None) = (result.generations.first(), error) {
                if !model.has_reasoning {
                    model.push_reasoning(&generation.reasoning, &mut self.ids, changes);
                }
                if !model.has_text {
                    model.push_text(&generation.text, &mut self.ids, changes);
                }
                model.end_text(changes);
                model.end_reasoning(changes);
                for (index, call) in generation.tool_calls.iter().enumerate() {
                    model.call(run, index, call, &mut self.ids, changes);
                }
            }
            if is_handed_over {
                // The end of the request decides about the calls.
                self.broken.extend(model.break_off(&mut self.ids, changes));
            } else {
                let why = error.map(ToString::to_string);
                let why = why.as_deref().unwrap_or("the model did not complete the call");
                model.close(why, &mut self.ids, changes);
            }
            if error.is_none() {
                self.reason = result.finish_reason().cloned();
            }
            if self.models.values().all(|model| model.is_hidden) {
                changes(Change::ModelsClosed);
            }
        }
        // The other process counts the whole run.
        if let (Some(usage), false) = (&result.usage, is_handed_over) {
            let model = result.model_name.as_deref().unwrap_or(&model.name);
            changes(Change::Usage { model, usage });
        }
    }

    /// Closes all that is open, and returns how the request ended.
    pub(super) fn close(&mut self, lagged: Option<Lagged>, changes: &mut Changes<'_>) -> Outcome {
        let outcome = self.outcome(lagged);
        let had_models = self.models.values().any(|model| !model.is_hidden);
        for mut model in std::mem::take(&mut self.models).into_values() {
            self.broken.extend(model.break_off(&mut self.ids, changes));
        }
        self.close_calls(&outcome, changes);
        if had_models {
            changes(Change::ModelsClosed);
        }
        for (_, name) in self.steps.drain(..).rev() {
            changes(Change::StepFinished(&name));
        }
        self.is_over = true;
        outcome
    }

    /// Closes the calls that have no output. Those of a request that another process goes on with
    /// have not failed.
    fn close_calls(&mut self, outcome: &Outcome, changes: &mut Changes<'_>) {
        let is_handed_over = matches!(outcome, Outcome::HandedOver);
        for call in std::mem::take(&mut self.broken) {
            match is_handed_over {
                true => changes(Change::CallLeft { id: &call.id }),
                false => call.fail("the stream ended before the model did", changes),
            }
        }
        if is_handed_over {
            return;
        }
        for (id, by_model) in std::mem::take(&mut self.tools).into_values() {
            let error = "the stream ended before the tool did";
            changes(Change::OutputError { id: &id, error, by_model });
        }
        // If the request succeeded, these are calls that the page answers.
        if !matches!(outcome, Outcome::Finished(_)) {
            for call in self.ids.take_all() {
                let error = "the request ended before a tool ran";
                changes(Change::OutputError { id: &call.id, error, by_model: true });
            }
        }
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
