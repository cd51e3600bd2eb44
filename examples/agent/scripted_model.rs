//! The model of the embedded server: it calls the tools by a script, and says what they found.

use rappel::{Value, json};
use rappel_tests::openai_server::Reply;

/// The ids of its calls.
const CALCULATION: &str = "call_calculator";
const SEARCH: &str = "call_search";

/// It quotes at most that much, in bytes.
const MOST_QUOTED: usize = 400;

/// What the model answers to a request.
pub(crate) fn reply(request: &Value) -> Reply {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let asked = messages.iter().rposition(|message| message["role"] == "user");
    let since = messages.get(asked.unwrap_or_default()..).unwrap_or_default();
    let question = since.first().and_then(|message| message["content"].as_str());
    let question = question.unwrap_or_default();
    let expression = arithmetic(question);
    let result = |id: &str| {
        let result = since.iter().find(|message| message["tool_call_id"] == id)?;
        result["content"].as_str()
    };
    let results = [
        result(CALCULATION).zip(expression).map(|(result, what)| format!("{what} is {result}.")),
        result(SEARCH).map(|found| format!("I found this in {}", short(found))),
    ];
    if results.iter().any(Option::is_some) {
        return Reply::text(&results.into_iter().flatten().collect::<Vec<_>>().join("\n\n"));
    }
    let mut reply = Reply::default();
    if let Some(expression) = expression {
        reply = reply.reasoning("There is something to calculate. I ask the calculator. ");
        reply = reply.call(CALCULATION, "calculator", &json!({"expression": expression}));
    }
    // What is left to ask beside the arithmetic.
    let (before, after) = question.split_once(expression.unwrap_or("\0")).unwrap_or((question, ""));
    let rest = if before.len() > after.len() { before } else { after };
    let rest = rest.trim_matches(|char: char| !char.is_alphanumeric());
    if expression.is_none() || rest.split_whitespace().any(|word| word.len() > 4) {
        reply = reply.reasoning("The files may say more, so I search them for its words.");
        reply = reply.call(SEARCH, "search_files", &json!({"query": rest}));
    }
    reply
}

/// The begin of a text's first paragraph, in one line.
fn short(text: &str) -> String {
    let mut short = String::new();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    for word in paragraph.split_whitespace() {
        if short.len() + word.len() > MOST_QUOTED {
            return short.trim_end().to_owned() + "…";
        }
        short += word;
        short.push(' ');
    }
    short.trim_end().to_owned()
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
