//! Errors in a JSON text.

use core::fmt;

/// An error in a JSON text, without any part of the text.
#[derive(Debug)]
pub(crate) enum JsonFault {
    NotAnObject,
    Broken { what: &'static str, line: usize, column: usize },
}

impl From<serde_json::Error> for JsonFault {
    fn from(error: serde_json::Error) -> Self {
        use serde_json::error::Category;

        Self::Broken {
            what: match error.classify() {
                Category::Eof => "unexpected end",
                Category::Data => "unexpected data",
                Category::Syntax | Category::Io => "syntax error",
            },
            line: error.line(),
            column: error.column(),
        }
    }
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::Broken { what, line, column } => {
                write!(f, "{what} at line {line}, column {column}")
            }
        }
    }
}

impl core::error::Error for JsonFault {}
