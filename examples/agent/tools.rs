//! The tools: a calculator, and a search over text files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::WalkBuilder;
use rappel::openai::Tool;
use rappel::prelude::*;
use rappel::{ToolCall, json};

/// The calculator refuses longer expressions, in bytes.
const MOST_EXPRESSION: usize = 1000;
/// Larger files are not searched, in bytes.
const MOST_FILE: u64 = 1 << 20;
/// The search returns at most that many paragraphs.
const MOST_FOUND: usize = 3;
/// Further words of a query are ignored.
const MOST_WORDS: usize = 32;

/// The tools of an agent.
#[derive(Debug)]
pub(crate) struct Tools {
    dir: Arc<Path>,
}

impl Tools {
    /// The tools, with a search over the files in `dir`.
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into().into() }
    }

    /// What the model is told of them.
    pub(crate) fn list() -> [Tool; 2] {
        let one_text = |name: &str, about: &str| {
            json!({
                "type": "object",
                "properties": {name: {"type": "string", "description": about}},
                "required": [name],
            })
        };
        [
            Tool::function("calculator")
                .description("Evaluates an arithmetic expression.")
                .parameters(one_text("expression", "For example: (1 + 2) * 3 ^ 2")),
            Tool::function("search_files")
                .description("Finds paragraphs of text files that have the words of a query.")
                .parameters(one_text("query", "The words to look for.")),
        ]
    }

    /// Makes a call of the model's, as a run. Returns the message with its result, or with its
    /// error.
    ///
    /// # Errors
    /// If a handler stops the tool's run.
    pub(crate) async fn call(
        &self,
        call: &ToolCall,
        callbacks: &CallbackManager,
    ) -> Result<Message, EmitError> {
        let id = call.id.clone().unwrap_or_default();
        let start = ToolStart::new(&*call.name, &*call.arguments).with_tool_call_id(id.clone());
        let run = callbacks.on_tool_start(start).await?;
        let text = match self.result(call, &run.child()).await {
            Ok(output) => {
                run.end(output.clone()).await?;
                output
            }
            Err(error) => {
                let text = format!("error: {error}");
                run.fail(error).await?;
                text
            }
        };
        Ok(Message::tool(id, text))
    }

    async fn result(
        &self,
        call: &ToolCall,
        callbacks: &CallbackManager,
    ) -> Result<String, RunError> {
        let arguments = call
            .parse_arguments()
            .map_err(|error| RunError::failed(format!("the arguments are not JSON: {error}")))?;
        let argument = |name: &str| {
            let text = arguments[name].as_str();
            text.ok_or_else(|| RunError::failed(format!("the argument `{name}` must be a text")))
        };
        match &*call.name {
            "calculator" => calculate(argument("expression")?),
            "search_files" => {
                let query = argument("query")?;
                let documents = search(self.dir.clone(), query.to_owned())
                    .in_retriever(callbacks, "files", query)
                    .await?;
                Ok(listed(&documents))
            }
            other => Err(RunError::failed(format!("there is no tool `{other}`"))),
        }
    }
}

fn calculate(expression: &str) -> Result<String, RunError> {
    if expression.len() > MOST_EXPRESSION {
        let message = format!("the expression is longer than {MOST_EXPRESSION} bytes");
        return Err(RunError::failed(message));
    }
    let result: f64 =
        exmex::eval_str(expression).map_err(|error| RunError::failed(error.to_string()))?;
    if !result.is_finite() {
        return Err(RunError::failed(format!("`{expression}` has no finite result")));
    }
    Ok(result.to_string())
}

/// Searches on a thread that may block. Dropping the future does not stop that thread.
async fn search(dir: Arc<Path>, query: String) -> Result<Vec<Document>, RunError> {
    let searched = tokio::task::spawn_blocking(move || search_files(&dir, &query)).await;
    searched.map_err(|error| RunError::failed(error.to_string()))?
}

/// The paragraphs with the most words of the query, best first. Files that cannot be read are
/// skipped.
fn search_files(dir: &Path, query: &str) -> Result<Vec<Document>, RunError> {
    let words = words(query);
    fs::read_dir(dir).map_err(|error| {
        RunError::failed(format!("cannot read the directory {}: {error}", dir.display()))
    })?;
    let mut found: Vec<(usize, Document)> = Vec::new();
    let files = WalkBuilder::new(dir).max_filesize(Some(MOST_FILE)).build();
    for path in files.flatten().map(ignore::DirEntry::into_path) {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("md" | "rst" | "txt")) {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        for paragraph in text.split("\n\n").map(str::trim) {
            let lower = paragraph.to_lowercase();
            let score = words.iter().filter(|word| lower.contains(&***word)).count();
            if score > 0 {
                found.push((score, Document::new(paragraph).with_id(name.clone())));
            }
        }
        found.sort_by_key(|(score, _)| usize::MAX - score);
        found.truncate(MOST_FOUND);
    }
    let share = |score: usize| score as f64 / words.len() as f64;
    Ok(found.into_iter().map(|(score, document)| document.with_score(share(score))).collect())
}

/// The words of a query that tell something: those of four letters or more, in lower case.
fn words(query: &str) -> Vec<String> {
    let query = query.to_lowercase();
    let words = query.split(|char: char| !char.is_alphanumeric());
    words.filter(|word| word.chars().count() > 3).take(MOST_WORDS).map(str::to_owned).collect()
}

fn listed(documents: &[Document]) -> String {
    if documents.is_empty() {
        return "nothing was found".to_owned();
    }
    let entry = |document: &Document| {
        format!("{}: {}", document.id.as_deref().unwrap_or_default(), document.page_content)
    };
    documents.iter().map(entry).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails should say where")]
mod tests {
    use super::*;

    #[test]
    fn the_calculator_gives_a_number_or_says_why_not() {
        assert_eq!(calculate("(1 + 2) * 3 ^ 2").unwrap(), "27");
        assert!(calculate("1 / 0").unwrap_err().to_string().contains("no finite result"));
        assert!(calculate("").is_err());
        assert!(calculate("x + 1").is_err());
        assert!(calculate(&"(".repeat(1000)).is_err());
        assert!(calculate(&"1+".repeat(1000)).unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn the_best_paragraphs_come_first_and_unreadable_files_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.md"), "A heron.\n\nA heron eats fish.").unwrap();
        fs::write(dir.path().join("b.txt"), b"heron \xff fish").unwrap();
        fs::write(dir.path().join("c.rs"), "heron fish").unwrap();
        let found = search_files(dir.path(), "Does the Heron eat fish?").unwrap();
        let found: Vec<_> = found.iter().map(|found| &*found.page_content).collect();
        assert_eq!(found, ["A heron eats fish.", "A heron."]);
        assert!(search_files(dir.path(), "").unwrap().is_empty());
        let gone = search_files(&dir.path().join("gone"), "heron").unwrap_err().to_string();
        assert!(gone.contains("cannot read the directory"), "{gone}");
    }
}
