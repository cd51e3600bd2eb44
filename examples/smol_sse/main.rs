//! The same as `axum_sse` on smol, with hyper as its server: `cargo run --example smol_sse`
//!
//! tokio runs nowhere in it, apart from the embedded model server, which is a thread of its own.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use rappel::json;
use rappel::prelude::*;
use rappel::streams::{SSE_HEADERS, sse_frame, token_stream};
use smol::net::TcpListener;
use smol_hyper::rt::FuturesIo;

#[path = "../embedded.rs"]
mod embedded; // Answers without a key. Leave it out of a program of your own.

type Failed = Box<dyn Error + Send + Sync>;

async fn chat(
    model: ChatOpenAi,
    request: Request<Incoming>,
) -> Result<impl Stream<Item = String>, Failed> {
    let question = String::from_utf8(request.into_body().collect().await?.to_bytes().into())?;
    let tokens = token_stream();
    let callbacks = tokens.attach(&CallbackManager::new(Smol::global()))?;
    // A closed tab drops the stream and the work. Its runs end as cancelled, its sockets close.
    let tokens = tokens.drive(async move { model.invoke_with(question, callbacks).await });
    Ok(tokens.map(|token| match token {
        Ok(token) => sse_frame(&json!(token)),
        Err(error) => format!("event: failed\n{}", sse_frame(&json!(error.to_string()))),
    }))
}

async fn answer(
    model: ChatOpenAi,
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Failed>>, Failed> {
    if request.method() != Method::POST {
        let page = Either::Right(Full::from(include_str!("../axum_sse/page.html")));
        return Ok(Response::builder().header("content-type", "text/html").body(page)?);
    }
    let frames = chat(model, request).await?;
    let frames = frames.map(|frame| Ok::<_, Infallible>(Frame::data(Bytes::from(frame))));
    let head = SSE_HEADERS
        .iter()
        .fold(Response::builder(), |head, (name, value)| head.header(*name, *value));
    Ok(head.body(Either::Left(StreamBody::new(frames)))?)
}

fn main() -> Result<(), Failed> {
    let mut model = ChatOpenAi::builder().model("gpt-4o-mini").streaming(true);
    let server = embedded::server(rappel_tests::openai_server::Script::joke())?;
    if let Some(server) = &server {
        model = model.base_url(server.base_url());
    }
    let model = model.build()?;
    let port = std::env::var("RAPPEL_PORT").map_or(Ok(3000), |port| port.parse())?;
    smol::block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        println!("http://{}", listener.local_addr()?);
        loop {
            let (socket, _) = listener.accept().await?;
            let model = model.clone();
            smol::spawn(async move {
                let service = service_fn(move |request| answer(model.clone(), request));
                // An error here is a client that has gone.
                let _ =
                    http1::Builder::new().serve_connection(FuturesIo::new(socket), service).await;
            })
            .detach();
        }
    })
}
