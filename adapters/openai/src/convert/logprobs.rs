//! The log probabilities of the tokens: `logprobs` of a choice.

use rappel_core::{TokenLogprob, TopLogprob, Value};

/// The log probability of a token that is very unlikely. OpenAI's [reference] says so of `logprob` in
/// chat completions, and vLLM [writes it] for minus infinity.
///
/// [reference]: https://platform.openai.com/docs/api-reference/chat/object
/// [writes it]: https://github.com/vllm-project/vllm/pull/11073
const IMPOSSIBLE: f64 = -9999.0;

/// Reads OpenAI's format: the tokens of the text, then those of a refusal.
///
/// # Errors
/// The value itself if it has another format.
pub(super) fn read(said: Value) -> Result<Vec<TokenLogprob>, Value> {
    let lists = [&said["content"], &said["refusal"]];
    if lists.iter().all(|list| !list.is_array()) {
        let nothing = said.as_object().is_none_or(|fields| fields.values().all(Value::is_null));
        return if nothing && (said.is_null() || said.is_object()) {
            Ok(Vec::new())
        } else {
            Err(said)
        };
    }
    let tokens = lists.into_iter().filter_map(Value::as_array).flatten();
    Ok(tokens.filter_map(token).collect())
}

fn token(said: &Value) -> Option<TokenLogprob> {
    let (text, logprob) = text_and_logprob(said)?;
    let top = said["top_logprobs"].as_array().into_iter().flatten();
    let mut token = TokenLogprob::new(text, logprob).with_top_logprobs(top.filter_map(alternative));
    token.bytes = bytes(said);
    Some(token)
}

fn alternative(said: &Value) -> Option<TopLogprob> {
    let (text, logprob) = text_and_logprob(said)?;
    let mut token = TopLogprob::new(text, logprob);
    token.bytes = bytes(said);
    Some(token)
}

/// A number that JSON cannot write comes as text. Minus infinity, for a token that is impossible,
/// becomes [`IMPOSSIBLE`]. What is no number, or plus infinity, says nothing: the token is left out.
fn text_and_logprob(said: &Value) -> Option<(&str, f64)> {
    let logprob = &said["logprob"];
    let number: f64 = logprob.as_f64().or_else(|| logprob.as_str()?.trim().parse().ok())?;
    let number = if number == f64::NEG_INFINITY { IMPOSSIBLE } else { number };
    Some((said["token"].as_str()?, Some(number).filter(|number| number.is_finite())?))
}

fn bytes(said: &Value) -> Option<Vec<u8>> {
    let list = said["bytes"].as_array()?.iter();
    list.map(|byte| u8::try_from(byte.as_u64()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use rappel_core::json;

    use super::*;

    #[test]
    fn openais_form_is_read() {
        let said = json!({
            "content": [{"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": [
                {"token": "Hi", "logprob": -0.25, "bytes": [72, 105]},
                {"token": "Ho", "logprob": -3.5, "bytes": null},
            ]}],
            "refusal": [{"token": "no", "logprob": -9999.0}],
        });
        let hi = TokenLogprob::new("Hi", -0.25).with_bytes(*b"Hi").with_top_logprobs([
            TopLogprob::new("Hi", -0.25).with_bytes(*b"Hi"),
            TopLogprob::new("Ho", -3.5),
        ]);
        assert_eq!(read(said), Ok(vec![hi, TokenLogprob::new("no", -9999.0)]));
    }

    #[test]
    fn another_form_is_kept_as_it_is() {
        let old = json!({"tokens": ["Hi"], "token_logprobs": [-0.25]});
        assert_eq!(read(old.clone()), Err(old));
        assert_eq!(read(json!([1])), Err(json!([1])));
    }

    /// JSON cannot carry them, so that an event with one could not be written.
    #[test]
    fn no_number_is_infinite() {
        for (said, expected) in [
            (json!("-Infinity"), Some(-9999.0)),
            (json!(" -inf "), Some(-9999.0)),
            (json!("-1e999"), Some(-9999.0)),
            (json!("-0.5"), Some(-0.5)),
            (json!("Infinity"), None),
            (json!("NaN"), None),
            (json!(null), None),
        ] {
            let token = json!({"token": "a", "logprob": said});
            let beside = json!({"token": "b", "logprob": 0.0, "top_logprobs": [token]});
            let found = read(json!({"content": [token, beside]}));
            let top = expected.map(|number| TopLogprob::new("a", number));
            let beside = TokenLogprob::new("b", 0.0).with_top_logprobs(top);
            let token = expected.map(|number| TokenLogprob::new("a", number));
            assert_eq!(found, Ok(token.into_iter().chain([beside]).collect()), "{said}");
        }
    }

    #[test]
    fn none_is_none_and_half_a_token_is_left_out() {
        for none in [json!(null), json!({}), json!({"content": null, "refusal": null})] {
            assert_eq!(read(none), Ok(Vec::new()));
        }
        let halves = json!({"content": [{"token": "Hi"}, {"logprob": 1}, 7, {"token": "!", "logprob": 0, "bytes": [-1], "top_logprobs": 3}]});
        assert_eq!(read(halves), Ok(vec![TokenLogprob::new("!", 0.0)]));
    }
}
