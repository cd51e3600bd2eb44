//! The log probabilities of the tokens: `logprobs` of a choice.

use rappel_core::{TokenLogprob, TopLogprob, Value};

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

fn text_and_logprob(said: &Value) -> Option<(&str, f64)> {
    let logprob = &said["logprob"];
    let number = logprob.as_f64().or_else(|| logprob.as_str()?.trim().parse().ok());
    Some((said["token"].as_str()?, number?))
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

    #[test]
    fn none_is_none_and_half_a_token_is_left_out() {
        for none in [json!(null), json!({}), json!({"content": null, "refusal": null})] {
            assert_eq!(read(none), Ok(Vec::new()));
        }
        let halves = json!({"content": [{"token": "Hi"}, {"logprob": 1}, 7, {"token": "!", "logprob": 0, "bytes": [-1], "top_logprobs": 3}]});
        assert_eq!(read(halves), Ok(vec![TokenLogprob::new("!", 0.0)]));
    }
}
