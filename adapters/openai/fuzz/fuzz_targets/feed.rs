//! One input of the fuzzer. The suite replays the corpus with the same code.

use bytes::Bytes;
use futures_lite::future::block_on;
use futures_util::stream::{self, StreamExt};
use rappel_core::runtime::BoxFuture;
use rappel_core::{ChatModel, Message};
use rappel_openai::{BodyStream, ChatOpenAi, OpenAiError, Transport};

/// Answers with these bytes, so many in a packet.
struct Canned {
    answer: Bytes,
    packet: usize,
}

impl Transport for Canned {
    fn send(&self, _: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>> {
        let (answer, packet) = (self.answer.clone(), self.packet);
        let starts = (0..answer.len()).step_by(packet);
        let packets = starts.map(move |start| Ok(answer.slice(start..answer.len().min(start.saturating_add(packet)))));
        let body: BodyStream = stream::iter(packets).boxed();
        Box::pin(async move { Ok(http::Response::new(body)) })
    }
}

/// Reads the bytes behind the first as an answer: streamed or not, as the first one says, once in one piece and once in pieces.
///
/// # Panics
/// When the two differ, or when the client panics.
pub(crate) fn feed(data: &[u8]) {
    let Some((first, answer)) = data.split_first() else { return };
    let streaming = first & 1 == 0;
    let packet = usize::from(first >> 1).max(1);
    let whole = read(answer, usize::MAX, streaming);
    let pieces = read(answer, packet, streaming);
    assert_eq!(whole, pieces, "packets of {packet} bytes");
}

/// What comes of an answer: all that a caller can see of it.
fn read(answer: &[u8], packet: usize, streaming: bool) -> String {
    let answer = Bytes::copy_from_slice(answer);
    let chat = ChatOpenAi::builder()
        .model("m")
        .base_url("http://localhost/v1")
        .api_key("sk-fuzz")
        .max_retries(0);
    let chat = chat
        .max_event_bytes(1 << 10)
        .streaming(streaming)
        .transport(Canned { answer, packet });
    let chat = chat.build().expect("the model is set up as it should be");
    let question = vec![Message::human("hi")];
    if !streaming {
        return format!("{:?}", block_on(chat.generate(vec![question])));
    }
    let mut stream = block_on(chat.stream(question)).expect("the head of the response is a success");
    let mut seen = String::new();
    while let Some(chunk) = block_on(stream.next()) {
        seen.push_str(&format!("{chunk:?}\n"));
    }
    seen
}
