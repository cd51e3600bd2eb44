//! Documents: the output of a retriever.

use alloc::string::String;

use serde_json::{Map, Value};

/// A document that a retriever found.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct Document {
    /// The text.
    pub page_content: String,
    /// The metadata: the source, for example.
    pub metadata: Map<String, Value>,
    /// Its id in the store.
    pub id: Option<String>,
    /// How well it matches the query, in the retriever's own scale.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub score: Option<f64>,
}

impl Document {
    /// Makes a document of that text.
    pub fn new(page_content: impl Into<String>) -> Self {
        Self { page_content: page_content.into(), ..Self::default() }
    }

    /// Sets the metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sets its id in the store.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets how well it matches the query.
    #[must_use]
    pub fn with_score(mut self, score: f64) -> Self {
        self.score = Some(score);
        self
    }
}
