//! The model of the embedded server: it calls the tools by a script, and repeats their results.

use rappel::{Value, json};
use rappel_tests::openai_server::Reply;

/// What the model answers to a request.
pub(crate) fn reply(request: &Value) -> Reply {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let asked = messages.iter().rposition(|message| message["role"] == "user");
    let since = messages.get(asked.unwrap_or_default()..).unwrap_or_default();
    let results: Vec<&str> = since
        .iter()
        .filter(|message| message["role"] == "tool")
        .filter_map(|message| message["content"].as_str())
        .collect();
    if !results.is_empty() {
        return Reply::text(&format!("The tools answered:\n\n{}", results.join("\n\n")));
    }
    let question = since.first().and_then(|message| message["content"].as_str());
    let question = question.unwrap_or_default();
    let expression = arithmetic(question);
    let mut reply = Reply::default().reasoning("I will look it up.");
    if let Some(expression) = expression {
        reply = reply.call("call_1", "calculator", &json!({"expression": expression}));
    }
    // What is left to ask after the arithmetic.
    let rest = question.replace(expression.unwrap_or_default(), "");
    if expression.is_none() || rest.split_whitespace().any(|word| word.len() > 4) {
        reply = reply.call("call_2", "search_files", &json!({"query": rest}));
    }
    reply
}

/// The first arithmetic expression of a text, if it has one.
fn arithmetic(text: &str) -> Option<&str> {
    let is_part = |char: char| char.is_ascii_digit() || " +-*/^().".contains(char);
    text.split(|char| !is_part(char)).map(|part| part.trim_matches([' ', '.'])).find(|part| {
        part.contains(|char: char| char.is_ascii_digit())
            && part.contains(['+', '-', '*', '/', '^'])
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails should say where")]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_is_found_in_a_question() {
        assert_eq!(arithmetic("What is 6 * 7, and why?"), Some("6 * 7"));
        assert_eq!(arithmetic("(1 + 2)^2"), Some("(1 + 2)^2"));
        assert_eq!(arithmetic("The 14 promises - which?"), None);
    }
}
