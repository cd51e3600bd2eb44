//! Through a proxy: what it sees, and what it does not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{JoinHandle, spawn};

use super::*;

const ANSWER: &str = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;

fn through(proxy: &str) -> ConnectionSettings {
    ConnectionSettings { proxy: ProxyChoice::Url(proxy.into()), ..ConnectionSettings::default() }
}

/// A proxy for one tunnel, and what it was asked.
struct Tunnel {
    port: u16,
    asked: JoinHandle<String>,
}

impl Tunnel {
    /// Answers with `says`, and carries bytes to `server` if that is a success.
    fn start(server: u16, says: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = spawn(move || {
            let mut client = listener.accept().unwrap().0;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            client.write_all(says.as_bytes()).unwrap();
            if says.contains(" 200 ") {
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let back = spawn({
                    let (mut client, mut server) =
                        (client.try_clone().unwrap(), server.try_clone().unwrap());
                    move || {
                        let _ = std::io::copy(&mut server, &mut client);
                        let _ = client.shutdown(std::net::Shutdown::Write);
                    }
                });
                let _ = std::io::copy(&mut client, &mut &server);
                let _ = server.shutdown(std::net::Shutdown::Write);
                back.join().unwrap();
            }
            String::from_utf8(head).unwrap()
        });
        Self { port, asked }
    }

    fn url(&self) -> String {
        format!("http://me:s%40cret@127.0.0.1:{}", self.port)
    }
}

#[test]
fn a_proxy_for_http_is_given_the_whole_request() {
    let proxy = Server::start(|mut peer| {
        let request = peer.read_request();
        peer.send(&answer(200, "application/json", ANSWER));
        request
    });
    // Nobody resolves that name but the proxy.
    let proxied = client_with(
        "http://models.invalid:8000/v1",
        through(&format!("http://me:s%40cret@127.0.0.1:{}", proxy.port())),
    );
    complete(&proxied).unwrap();
    drop(proxied);
    let head = proxy.join();
    assert!(
        head.starts_with("POST http://models.invalid:8000/v1/chat/completions HTTP/1.1\r\n"),
        "{head}"
    );
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\nhost: models.invalid:8000\r\n"), "{head}");
    assert!(head.contains("\r\nproxy-authorization: basic bwu6c0bjcmv0\r\n"), "{head}");
}

#[test]
fn a_proxy_for_https_is_told_of_the_server_only() {
    let (server, pem) = tls::server(|mut peer| {
        let head = peer.read_request().to_ascii_lowercase();
        assert!(
            head.starts_with("post /v1/chat/completions ")
                && head.contains("sk-secret-1")
                && !head.contains("proxy-"),
            "{head}"
        );
        peer.send(&answer(200, "application/json", ANSWER));
    });
    let tunnel = Tunnel::start(server.port(), "HTTP/1.1 200 Connection established\r\n\r\n");
    let settings =
        ConnectionSettings { proxy: ProxyChoice::Url(tunnel.url()), ..tls::trusting(&pem) };
    let base_url = format!("https://localhost:{}/v1", server.port());
    let client = client_with(&base_url, settings);
    complete(&client).unwrap();
    drop(client);
    let port = server.port();
    server.join();
    let asked = tunnel.asked.join().unwrap();
    assert!(asked.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")), "{asked}");
    assert!(asked.contains("Basic bWU6c0BjcmV0") && !asked.contains("sk-secret-1"), "{asked}");
}

#[test]
fn a_proxy_that_refuses_is_told_from_the_server() {
    for (says, status) in [
        ("HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n", 407),
        ("HTTP/1.1 502 x\r\ncontent-length: 5\r\n\r\nsorry", 502),
    ] {
        let tunnel = Tunnel::start(0, says);
        let error = complete(&client_with("https://models.invalid/v1", through(&tunnel.url())))
            .unwrap_err();
        assert!(
            matches!(error, OpenAiError::ProxyRefused { status: was, .. } if was == status),
            "{error:?}"
        );
        assert_eq!(error.is_retryable(), status == 502);
        assert!(!format!("{error:?}").contains("40cret"));
        tunnel.asked.join().unwrap();
    }
}

#[test]
fn a_proxy_that_speaks_into_the_tunnel_is_not_trusted() {
    let proxy = Server::start(|mut peer| {
        let mut buffer = [0; 1024];
        let _ = peer.0.read(&mut buffer).unwrap();
        peer.send("HTTP/1.1 200 OK\r\n\r\nhello");
        peer.read_to_close();
    });
    let error = complete(&client_with(
        "https://models.invalid/v1",
        through(&format!("http://127.0.0.1:{}", proxy.port())),
    ));
    let error = error.unwrap_err();
    assert!(matches!(error, OpenAiError::Http { .. } | OpenAiError::Tls { .. }), "{error:?}");
    proxy.join();
}

#[test]
fn the_proxys_password_is_in_no_debug_output() {
    let client =
        client_with("https://models.invalid/v1", through("http://me:s%40cret@127.0.0.1:1"));
    assert!(!format!("{client:?}").contains("40cret") && !format!("{client:?}").contains("@cret"));
    let error = complete(&client).unwrap_err();
    assert!(matches!(&error, OpenAiError::Connect { port: 1, .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("40cret"));
}

/// Run by the test below, in a process with an environment of its own.
#[test]
#[ignore = "it is a part of another test"]
fn what_the_environment_says() {
    // With one thread, the test harness has begun a line of its own.
    println!();
    for base_url in [
        "https://models.invalid/v1",
        "http://models.invalid/v1",
        "https://inside.invalid/v1",
        "http://10.1.2.3/v1",
        "http://127.0.0.1:1/v1",
        "https://localhost/v1",
        "http://[::1]/v1",
    ] {
        let proxy = ProxyChoice::Environment.resolve(&Endpoint::parse(base_url).unwrap()).unwrap();
        let proxy = proxy.map_or("none".to_owned(), |proxy| proxy.endpoint().port().to_string());
        println!("{base_url} {proxy}");
    }
}

#[test]
fn the_environment_has_a_say() {
    let ask = |variables: &[(&str, &str)]| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"] {
            child.env_remove(name).env_remove(name.to_ascii_lowercase());
        }
        let child =
            child.envs(variables.iter().copied()).args(["--ignored", "--nocapture", "--exact"]);
        let output =
            child.arg("exchange::tests::proxies::what_the_environment_says").output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let proxies = output
            .lines()
            .filter(|line| line.starts_with("http"))
            .map(|line| line.rsplit(' ').next().unwrap().to_owned());
        proxies.collect::<Vec<_>>()
    };
    let none = "none";
    assert_eq!(ask(&[]), [none; 7]);
    assert_eq!(
        ask(&[
            ("HTTPS_PROXY", "http://proxy:1"),
            ("http_proxy", "proxy:2"),
            ("NO_PROXY", "inside.invalid,10.0.0.0/8")
        ]),
        ["1", "2", none, none, none, none, none]
    );
    assert_eq!(ask(&[("ALL_PROXY", "https://proxy:3")]), ["3", "3", "3", "3", none, none, none]);
}
