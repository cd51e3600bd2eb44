//! The pieces of tool calls, and the calls that they belong to.

use rappel_core::ToolCallChunk;

use crate::wire::{MOST_CALLS, ToolCallDelta};

/// The tool calls of one answer, as far as they have arrived.
///
/// OpenAI numbers the calls from 0, and sends the id and the name with the first piece of each.
/// Other servers number them from 1, not at all, or all as 0. Some send no ids, or repeat the id
/// and the name with every piece. So the calls are numbered here, in the order in which they begin.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

#[derive(Debug)]
struct Call {
    /// The server's number, or the position in its list.
    index: u32,
    /// `true` if `index` is the server's number.
    counted: bool,
    id: Option<String>,
    name: String,
    has_arguments: bool,
}

impl Calls {
    /// Converts a delta to a piece with our own number. A repeated id or name is left out.
    pub(super) fn piece(&mut self, position: usize, delta: ToolCallDelta) -> ToolCallChunk {
        let index = delta.index.unwrap_or(u32::try_from(position).unwrap_or(u32::MAX));
        let function = delta.function.unwrap_or_default();
        let arguments = function.arguments.unwrap_or_default();
        let counted = delta.index.is_some();
        let at = match self.find(index, counted, delta.id.as_deref(), function.name.as_deref()) {
            Some(at) => at,
            None => self.begin(index, counted),
        };
        let call = &mut self.0[at];
        call.has_arguments |= !arguments.is_empty();

        let mut piece = ToolCallChunk::new(u32::try_from(at).unwrap_or(u32::MAX), arguments);
        if call.id.is_none() {
            call.id.clone_from(&delta.id);
            piece.id = delta.id;
        }
        piece.name = function.name.filter(|name| *name != call.name);
        call.name.extend(piece.name.as_deref());
        piece.extra = delta.rest;
        piece
    }

    /// The call that this piece continues, or `None` if it begins a call.
    fn find(
        &self,
        index: u32,
        counted: bool,
        id: Option<&str>,
        name: Option<&str>,
    ) -> Option<usize> {
        let last = |is: &dyn Fn(&Call) -> bool| self.0.iter().rposition(is);
        // If both have the server's number, that decides, because ids are not always unique.
        let may_be = |call: &Call| call.index == index || !(counted && call.counted);
        if let Some(at) =
            id.and_then(|id| last(&|call| call.id.as_deref() == Some(id) && may_be(call)))
        {
            return Some(at);
        }
        let at = last(&|call| call.index == index)?;
        let call = &self.0[at];
        let another_id = id.is_some() && call.id.is_some();
        // A name comes before the arguments, so a new name after them begins another call.
        let another_name = call.has_arguments && name.is_some_and(|name| name != call.name);
        (!another_id && !another_name).then_some(at)
    }

    /// Begins a call. Beyond the limit the piece is added to the last call, because the server's
    /// data is not trusted.
    fn begin(&mut self, index: u32, counted: bool) -> usize {
        if self.0.len() < MOST_CALLS {
            self.0.push(Call {
                index,
                counted,
                id: None,
                name: String::new(),
                has_arguments: false,
            });
        }
        self.0.len() - 1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rappel_core::{LlmChunk, LlmResult, Value, json};

    use super::*;

    /// The calls that the deltas make: id, name and arguments of each.
    fn together(deltas: Value) -> Vec<(String, String, String)> {
        let (mut calls, mut result) = (Calls::default(), LlmResult::new());
        for delta in deltas.as_array().unwrap() {
            let deltas: Vec<ToolCallDelta> = serde_json::from_value(delta.clone()).unwrap();
            let pieces = deltas
                .into_iter()
                .enumerate()
                .map(|(position, delta)| calls.piece(position, delta));
            result.push_chunk(&LlmChunk::default().with_tool_calls(pieces));
        }
        let calls = result.generations.remove(0).tool_calls.into_iter();
        calls.map(|call| (call.id.unwrap_or_default(), call.name, call.arguments)).collect()
    }

    #[track_caller]
    fn check(deltas: Value, expected: &[(&str, &str, &str)]) {
        let calls = together(deltas);
        let calls: Vec<_> =
            calls.iter().map(|(id, name, arguments)| (&**id, &**name, &**arguments)).collect();
        assert_eq!(calls, expected);
    }

    #[test]
    fn openai_counts_its_calls() {
        check(
            json!([
                [{"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}}],
                [{"index": 0, "function": {"arguments": "{\"a\":"}}],
                [{"index": 0, "function": {"arguments": "1}"}}],
                [{"index": 1, "id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}}],
                [{"index": 1, "function": {"arguments": "{}"}}],
            ]),
            &[("c1", "add", "{\"a\":1}"), ("c2", "now", "{}")],
        );
    }

    #[test]
    fn pieces_of_two_calls_may_take_turns() {
        check(
            json!([
                [{"index": 0, "id": "c1", "function": {"name": "add"}}, {"index": 1, "id": "c2", "function": {"name": "now"}}],
                [{"index": 1, "function": {"arguments": "{"}}, {"index": 0, "function": {"arguments": "["}}],
                [{"index": 0, "function": {"arguments": "]"}}, {"index": 1, "function": {"arguments": "}"}}],
            ]),
            &[("c1", "add", "[]"), ("c2", "now", "{}")],
        );
    }

    #[test]
    fn a_count_from_one_makes_no_empty_call() {
        check(
            json!([
                [{"index": 1, "id": "c1", "function": {"name": "add", "arguments": "{"}}],
                [{"index": 1, "function": {"arguments": "}"}}],
            ]),
            &[("c1", "add", "{}")],
        );
    }

    #[test]
    fn calls_that_are_all_counted_as_zero_are_told_apart_by_their_ids() {
        check(
            json!([
                [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "{}"}}],
                [{"index": 0, "id": "c2", "function": {"name": "add", "arguments": "{}"}}],
            ]),
            &[("c1", "add", "{}"), ("c2", "add", "{}")],
        );
    }

    /// Some servers use the function's name, or the word "null", as id.
    #[test]
    fn calls_of_the_same_id_are_told_apart_by_their_count() {
        check(
            json!([
                [{"index": 0, "id": "null", "function": {"name": "add", "arguments": "["}}],
                [{"index": 0, "id": "null", "function": {"arguments": "]"}}],
                [{"index": 1, "id": "null", "function": {"name": "add", "arguments": "{"}}],
                [{"index": 1, "id": "null", "function": {"arguments": "}"}}],
            ]),
            &[("null", "add", "[]"), ("null", "add", "{}")],
        );
        // Without numbers, the only piece of a list may belong to the second call.
        check(
            json!([
                [{"id": "c1", "function": {"name": "add"}}, {"id": "c2", "function": {"name": "now"}}],
                [{"id": "c2", "function": {"arguments": "{}"}}],
            ]),
            &[("c1", "add", ""), ("c2", "now", "{}")],
        );
    }

    #[test]
    fn without_ids_a_new_name_begins_a_new_call() {
        check(
            json!([
                [{"function": {"name": "add", "arguments": {"a": 1}}}],
                [{"function": {"name": "now", "arguments": "{}"}}],
            ]),
            &[("", "add", "{\"a\":1}"), ("", "now", "{}")],
        );
        check(
            json!([[{"function": {"name": "add", "arguments": "{}"}}, {"function": {"name": "add", "arguments": "[]"}}]]),
            &[("", "add", "{}"), ("", "add", "[]")],
        );
    }

    #[test]
    fn what_is_repeated_with_every_piece_is_taken_once() {
        check(
            json!([
                [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "{"}}],
                [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "}"}}],
                [{"index": 0, "id": "", "function": {"name": "", "arguments": " "}}],
            ]),
            &[("c1", "add", "{} ")],
        );
    }

    #[test]
    fn a_name_may_come_in_pieces() {
        check(
            json!([
                [{"index": 0, "id": "c1", "function": {"name": "get_"}}],
                [{"index": 0, "function": {"name": "weather", "arguments": "{}"}}],
            ]),
            &[("c1", "get_weather", "{}")],
        );
    }

    #[test]
    fn what_only_the_server_knows_stays_with_the_call() {
        let delta = json!({"id": "c1", "function": {"name": "add"}, "extra_content": {"google": {"thought_signature": "s"}}});
        let piece = Calls::default().piece(0, serde_json::from_value(delta).unwrap());
        assert_eq!(
            Value::from(piece.extra),
            json!({"extra_content": {"google": {"thought_signature": "s"}}})
        );
    }

    #[test]
    fn a_server_cannot_make_calls_without_an_end() {
        let mut calls = Calls::default();
        for number in 0..5_000 {
            let delta =
                json!({"index": number, "id": number.to_string(), "function": {"name": "add"}});
            calls.piece(0, serde_json::from_value(delta).unwrap());
        }
        assert_eq!(calls.0.len(), MOST_CALLS);
    }
}
