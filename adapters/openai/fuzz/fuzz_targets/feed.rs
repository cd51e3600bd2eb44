//! One input of the fuzzer. The test suite replays the corpus with the same code.

use bytes::Bytes;
use futures_lite::future::block_on;
use futures_util::stream::{self, StreamExt};
use rappel_core::runtime::BoxFuture;
use rappel_core::{ChatModel, ChatModelExt, Message};
use rappel_openai::{Api, BodyStream, ChatOpenAi, OpenAiError, Transport};

/// Answers with these bytes, in packets of that size.
struct Canned {
    answer: Bytes,
    packet: usize,
}

impl Transport for Canned {
    fn send(
        &self,
        _: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>> {
        let (answer, packet) = (self.answer.clone(), self.packet);
        let starts = (0..answer.len()).step_by(packet);
        let packets = starts.map(move |start| {
            Ok(answer.slice(start..answer.len().min(start.saturating_add(packet))))
        });
        let body: BodyStream = stream::iter(packets).boxed();
        Box::pin(async move { Ok(http::Response::new(body)) })
    }
}

/// Reads the input as an answer of either API, once in one packet and once in several.
///
/// The first byte says whether the answer is streamed, and the size of the packets. The rest is the
/// answer.
///
/// # Panics
/// If the two outcomes differ, or if the client panics.
pub(crate) fn feed(data: &[u8]) {
    let Some((first, answer)) = data.split_first() else {
        return;
    };
    let streaming = first & 1 == 0;
    let packet = usize::from(first >> 1).max(1);
    for api in [Api::ChatCompletions, Api::Responses] {
        let whole = read(api, answer, usize::MAX, streaming);
        let pieces = read(api, answer, packet, streaming);
        assert_eq!(whole, pieces, "{api:?} in packets of {packet} bytes");
    }
}

/// The outcome of an answer: everything that a caller can see of it.
fn read(api: Api, answer: &[u8], packet: usize, streaming: bool) -> String {
    let answer = Bytes::copy_from_slice(answer);
    let chat = ChatOpenAi::builder()
        .model("m")
        .api(api)
        .base_url("http://localhost/v1")
        .api_key("sk-fuzz")
        .max_retries(0)
        .max_event_bytes(1 << 10)
        .streaming(streaming)
        .transport(Canned { answer, packet })
        .build()
        .expect("the settings are valid");
    if !streaming {
        return format!("{:?}", block_on(chat.invoke("hi")));
    }
    let question = vec![Message::human("hi")];
    let mut stream = block_on(chat.stream(question)).expect("the response has a status of success");
    let mut seen = String::new();
    while let Some(chunk) = block_on(stream.next()) {
        seen.push_str(&format!("{chunk:?}\n"));
    }
    seen
}
