//! Which events a stream has.

use rappel_core::{Event, EventContext, RunKind};

/// Which events an [`EventStream`](crate::EventStream) has: LangChain's filter of `astream_events`.
///
/// Without an include list every event is in. With some, an event is in if any of them matches.
/// An event that any exclude list matches is out. Names are the run's, or the custom event's own.
/// Types are `llm`, `chat_model`, `chain`, `tool` and `retriever`. A custom event's type is its
/// name.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EventFilter {
    /// Names of which one must match.
    pub include_names: Vec<String>,
    /// Types of which one must match.
    pub include_types: Vec<String>,
    /// Tags of which one must match.
    pub include_tags: Vec<String>,
    /// Names that are left out.
    pub exclude_names: Vec<String>,
    /// Types that are left out.
    pub exclude_types: Vec<String>,
    /// Tags that are left out.
    pub exclude_tags: Vec<String>,
}

macro_rules! setters {
    ($($field:ident $doc:literal,)+) => {$(
        #[doc = $doc]
        #[must_use]
        pub fn $field<T: Into<String>>(mut self, values: impl IntoIterator<Item = T>) -> Self {
            self.$field.extend(values.into_iter().map(Into::into));
            self
        }
    )+};
}

impl EventFilter {
    /// Lets every event pass.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        include_names "Adds names to include.",
        include_types "Adds types to include.",
        include_tags "Adds tags to include.",
        exclude_names "Adds names to exclude.",
        exclude_types "Adds types to exclude.",
        exclude_tags "Adds tags to exclude.",
    }

    /// Whether the stream has this event.
    pub(crate) fn matches(&self, event: &Event, cx: &EventContext) -> bool {
        let (name, kind) = match event {
            Event::CustomEvent(event) => (&*event.name, &*event.name),
            _ => (cx.name(), type_name(cx.kind())),
        };
        let any = |names: &[String], types: &[String], tags: &[String]| {
            names.iter().any(|each| each == name)
                || types.iter().any(|each| each == kind)
                || tags.iter().any(|each| cx.tags().contains(each))
        };
        let includes_all = self.include_names.is_empty()
            && self.include_types.is_empty()
            && self.include_tags.is_empty();
        (includes_all || any(&self.include_names, &self.include_types, &self.include_tags))
            && !any(&self.exclude_names, &self.exclude_types, &self.exclude_tags)
    }
}

/// LangChain's name of a kind of run.
pub(crate) fn type_name(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Llm => "llm",
        RunKind::ChatModel => "chat_model",
        RunKind::Chain => "chain",
        RunKind::Tool => "tool",
        RunKind::Retriever => "retriever",
        _ => "",
    }
}
