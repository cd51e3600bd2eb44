//! The same over TLS, against a server with a certificate of its own.

use std::{io::Read, net::TcpStream, sync::Arc};

use futures_rustls::{
    pki_types::PrivateKeyDer,
    rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring},
};

use super::{
    server::{Peer, answer},
    *,
};

/// A server for `localhost`, and the PEM of its certificate.
pub(super) fn server(
    script: impl FnOnce(Peer<StreamOwned<ServerConnection, TcpStream>>) + Send + 'static,
) -> (Server<()>, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let server = Server::start(move |peer| {
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        script(Peer(StreamOwned::new(session, peer.0)));
    });
    (server, own.cert.pem())
}

pub(super) fn trusting(pem: &str) -> ConnectionSettings {
    ConnectionSettings {
        certificates: vec![pem.as_bytes().to_vec()],
        roots: crate::tls::Roots::Empty,
        ..ConnectionSettings::default()
    }
}

/// `localhost` may well be IPv6 first, where nobody listens: then both are tried.
fn client_of(server: &Server<()>, host: &str, settings: ConnectionSettings) -> Client {
    client_with(&format!("https://{host}:{}/v1", server.port()), settings)
}

#[test]
fn a_trusted_server_is_talked_to() {
    let (server, pem) = server(|mut peer| {
        peer.read_request();
        peer.send(&answer(200, "application/json", r#"{"choices":[{}]}"#));
    });
    let answer = complete(&client_of(&server, "localhost", trusting(&pem))).unwrap();
    assert_eq!(answer.generations.len(), 1);
    server.join();
}

#[test]
fn a_stream_without_a_close_notify_is_cut() {
    let (server, pem) = server(|mut peer| {
        peer.read_request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
        peer.send(EVENT);
    });
    let client = client_of(&server, "localhost", trusting(&pem));
    let (chunks, end) = drain(stream(&client).unwrap());
    assert_eq!(chunks, 1);
    assert!(matches!(end, Err(OpenAiError::Cut { source: Some(_) })), "{end:?}");
}

/// As a balancer does that has too much to do: it is no connection yet, and may be one with the
/// next attempt.
#[test]
fn a_handshake_that_breaks_off_is_worth_a_retry() {
    let server = Server::start(|mut peer| {
        let _ = peer.0.read(&mut [0; 1024]).unwrap();
    });
    let error =
        complete(&client_of(&server, "localhost", ConnectionSettings::default())).unwrap_err();
    assert!(matches!(error, OpenAiError::Tls { .. }) && error.is_retryable(), "{error:?}");
    server.join();
}

#[test]
fn a_stranger_is_not_talked_to() {
    let (server, _) = server(|mut peer| {
        let _ = peer.0.read(&mut [0; 1]);
    });
    let error =
        complete(&client_of(&server, "localhost", ConnectionSettings::default())).unwrap_err();
    assert_eq!(error.to_string(), "TLS handshake with localhost failed");
    assert!(!error.is_retryable());
    server.join();
}

#[test]
fn a_trusted_server_under_a_false_name_is_not_talked_to() {
    let (server, pem) = server(|mut peer| {
        let _ = peer.0.read(&mut [0; 1]);
    });
    let error = complete(&client_of(&server, "127.0.0.1", trusting(&pem))).unwrap_err();
    assert!(matches!(error, OpenAiError::Tls { .. }), "{error:?}");
    server.join();
}
