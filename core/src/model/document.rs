//! Documents: the output of a retriever.

use alloc::string::String;

use serde_json::{Map, Value};

use crate::util::setters;

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
    /// How well it matches the query, in the retriever's own scale. A score that is not finite is not written.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_no_number"))]
    pub score: Option<f64>,
}

impl Document {
    /// Makes a document of that text.
    pub fn new(page_content: impl Into<String>) -> Self {
        Self { page_content: page_content.into(), ..Self::default() }
    }

    setters! {
        /// Sets the metadata.
        with_metadata(metadata: Map<String, Value>) { self.metadata = metadata }
        /// Sets its id in the store.
        with_id(id: impl Into<String>) { self.id = Some(id.into()) }
        /// Sets how well it matches the query.
        with_score(score: f64) { self.score = Some(score) }
    }
}

#[cfg(feature = "serde")]
fn is_no_number(score: &Option<f64>) -> bool {
    !score.is_some_and(f64::is_finite)
}
