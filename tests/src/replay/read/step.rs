//! From a step's fields to a [`Step`].

use rappel_core::{
    AgentAction, AgentFinish, ChainRun, ChainStart, ChatModelStart, CustomEvent, Generation,
    LlmResult, LlmRun, LlmStart, Message, RetrieverRun, RetrieverStart, RunId, ToolRun, ToolStart,
    Value,
};

use crate::replay::error::Flaw;
use crate::replay::fields::{Fields, FromJson};
use crate::replay::names::{Names, Open, Run};
use crate::replay::program::{Emit, End, Failing, Start, Step};

pub(super) fn read(fields: Fields, names: &mut Names) -> Result<Step, Flaw> {
    let mut step = Reader { fields, names };
    let op: String = step.take("op")?;
    Ok(match op.as_str() {
        "child" => step.child()?,
        "custom_event" => step.custom_event()?,

        "llm_start" => step.start(Reader::llm_start)?,
        "chat_model_start" => step.start(Reader::chat_model_start)?,
        "chain_start" => step.start(Reader::chain_start)?,
        "tool_start" => step.start(Reader::tool_start)?,
        "retriever_start" => step.start(Reader::retriever_start)?,

        "token" => Step::Emit(Emit::Token(step.run()?, step.take("text")?)),
        "text" => Step::Emit(Emit::Text(step.run()?, step.take("text")?)),
        "agent_action" => Step::Emit(step.agent_action()?),
        "agent_finish" => Step::Emit(step.agent_finish()?),

        "llm_end" => Step::End(End::Llm(step.ended()?, step.llm_result()?)),
        "chain_end" => Step::End(End::Chain(step.ended()?, step.take("outputs")?)),
        "tool_end" => Step::End(End::Tool(step.ended()?, step.take("output")?)),
        "retriever_end" => Step::End(End::Retriever(step.ended()?, step.take("documents")?)),

        "llm_error" => step.fail(Failing::Llm)?,
        "chain_error" => step.fail(Failing::Chain)?,
        "tool_error" => step.fail(Failing::Tool)?,
        "retriever_error" => step.fail(Failing::Retriever)?,

        _ => return Err(Flaw::UnknownOp(op)),
    })
}

/// A step that is being read, and the aliases of those before it.
struct Reader<'a> {
    fields: Fields,
    names: &'a mut Names,
}

impl Reader<'_> {
    fn take<T: FromJson>(&mut self, field: &'static str) -> Result<T, Flaw> {
        self.fields.take(field)
    }

    /// The run that the step names.
    fn run<R: Run>(&mut self) -> Result<Open<R>, Flaw> {
        let alias = self.take("run")?;
        self.names.open(alias)
    }

    /// The run that the step ends.
    fn ended<R: Run>(&mut self) -> Result<Open<R>, Flaw> {
        let alias = self.take("run")?;
        self.names.end(alias)
    }

    fn fail<R: Run>(&mut self, failing: fn(Open<R>) -> Failing) -> Result<Step, Flaw> {
        Ok(Step::Fail { run: failing(self.ended()?), error: self.take("error")? })
    }

    fn child(&mut self) -> Result<Step, Flaw> {
        let of = self.take("of")?;
        let of = self.names.parent(of)?;
        let tag = self.fields.find("tag")?;
        let alias = self.take("as")?;
        self.names.make_manager(alias)?;
        Ok(Step::Child { of, tag })
    }

    fn custom_event(&mut self) -> Result<Step, Flaw> {
        let on = self.take("on")?;
        let on = self.names.manager(on)?;
        let event = CustomEvent::new(self.take::<String>("name")?, self.take::<Value>("data")?);
        let id = match self.fields.find("in")? {
            Some(run) => self.names.open_id(run)?,
            None => {
                let alias = self.take("as")?;
                self.names.make_custom_event(alias)?
            }
        };
        let event = event.with_run_id(id);
        Ok(Step::CustomEvent { on, event })
    }

    fn start(&mut self, what: fn(&mut Self, String) -> Result<Start, Flaw>) -> Result<Step, Flaw> {
        let on = self.take("on")?;
        let on = self.names.manager(on)?;
        let name = self.take("name")?;
        let what = what(self, name)?;
        Ok(Step::Start { on, what })
    }

    fn llm_start(&mut self, name: String) -> Result<Start, Flaw> {
        let starts = self
            .batch("prompts", |id, prompt: String| LlmStart::new(&*name, prompt).with_run_id(id));
        starts.map(Start::Llm)
    }

    fn chat_model_start(&mut self, name: String) -> Result<Start, Flaw> {
        let starts = self.batch("messages", |id, messages: Vec<Message>| {
            ChatModelStart::new(&*name, messages).with_run_id(id)
        });
        starts.map(Start::ChatModel)
    }

    fn chain_start(&mut self, name: String) -> Result<Start, Flaw> {
        let start = ChainStart::new(name, self.take::<Value>("inputs")?);
        Ok(Start::Chain(start.with_run_id(self.made::<ChainRun>()?)))
    }

    fn tool_start(&mut self, name: String) -> Result<Start, Flaw> {
        let mut start = ToolStart::new(name, self.take::<String>("input")?);
        if let Some(inputs) = self.fields.find::<Value>("inputs")? {
            start = start.with_inputs(inputs);
        }
        Ok(Start::Tool(start.with_run_id(self.made::<ToolRun>()?)))
    }

    fn retriever_start(&mut self, name: String) -> Result<Start, Flaw> {
        let start = RetrieverStart::new(name, self.take::<String>("query")?);
        Ok(Start::Retriever(start.with_run_id(self.made::<RetrieverRun>()?)))
    }

    /// The id of the run that the step makes.
    fn made<R: Run>(&mut self) -> Result<RunId, Flaw> {
        let alias = self.take("as")?;
        self.names.make_run::<R>(alias)
    }

    /// A start for each prompt of `field`, with the alias at the same place in `as`.
    fn batch<P: FromJson, S>(
        &mut self,
        field: &'static str,
        start: impl Fn(RunId, P) -> S,
    ) -> Result<Vec<S>, Flaw> {
        let prompts: Vec<P> = self.take(field)?;
        let aliases: Vec<String> = self.take("as")?;
        if aliases.len() != prompts.len() {
            return Err(Flaw::DoesNotFit { aliases: aliases.len(), prompts: prompts.len() });
        }
        let starts = aliases.into_iter().zip(prompts);
        starts
            .map(|(alias, prompt)| Ok(start(self.names.make_run::<LlmRun>(alias)?, prompt)))
            .collect()
    }

    fn agent_action(&mut self) -> Result<Emit, Flaw> {
        let run = self.run()?;
        let (tool, input, log): (String, Value, String) =
            (self.take("tool")?, self.take("tool_input")?, self.take("log")?);
        Ok(Emit::AgentAction(run, AgentAction::new(tool, input, log)))
    }

    fn agent_finish(&mut self) -> Result<Emit, Flaw> {
        let run = self.run()?;
        let (values, log): (Value, String) = (self.take("return_values")?, self.take("log")?);
        Ok(Emit::AgentFinish(run, AgentFinish::new(values, log)))
    }

    fn llm_result(&mut self) -> Result<LlmResult, Flaw> {
        let OfOnePrompt(texts) = self.take("texts")?;
        let output: Value = self.take("llm_output")?;
        let result = texts
            .into_iter()
            .fold(LlmResult::new(), |result, text| result.with_generation(Generation::new(text)));
        Ok(match output {
            Value::Null => result,
            output => result.with_llm_output(output),
        })
    }
}

/// The one list of a result. LangChain has a list for each prompt, and a run has one prompt.
struct OfOnePrompt(Vec<String>);

impl FromJson for OfOnePrompt {
    fn expected() -> String {
        "[[text]] with one list in it".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        let [texts]: [Vec<String>; 1] = Vec::from_json(value)?.try_into().ok()?;
        Some(Self(texts))
    }
}
