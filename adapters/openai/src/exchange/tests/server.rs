//! A server for one connection, which does exactly what its script says.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
};

pub(super) struct Server<T> {
    address: SocketAddr,
    script: JoinHandle<T>,
}

impl<T: Send + 'static> Server<T> {
    /// The connection is closed when the script returns.
    pub(super) fn start(script: impl FnOnce(Peer<TcpStream>) -> T + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            script: std::thread::spawn(move || script(accept(&listener))),
        }
    }

    /// The script is given the connections as it asks for them.
    pub(super) fn start_many(
        script: impl FnOnce(Box<dyn FnMut() -> Peer<TcpStream>>) -> T + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            script: std::thread::spawn(move || script(Box::new(move || accept(&listener)))),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Waits for the script.
    pub(super) fn join(self) -> T {
        self.script.join().unwrap()
    }
}

/// A client that says nothing for long is a test that failed.
fn accept(listener: &TcpListener) -> Peer<TcpStream> {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
    Peer(stream)
}

/// The client, as the server sees it.
pub(super) struct Peer<S>(pub(super) S);

impl<S: Read + Write> Peer<S> {
    /// Head and body, to the last byte: closing with unread bytes would reset the connection.
    pub(super) fn read_request(&mut self) -> String {
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !is_whole(&request) {
            let len = self.0.read(&mut buffer).unwrap();
            assert_ne!(len, 0, "closed within the request");
            request.extend_from_slice(&buffer[..len]);
        }
        String::from_utf8(request).unwrap()
    }

    pub(super) fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
        self.0.flush().unwrap();
    }

    pub(super) fn send_until_closed(&mut self, text: &str) {
        while self.0.write_all(text.as_bytes()).is_ok() {}
    }

    /// Returns when the client has closed the connection, in whatever manner.
    pub(super) fn read_to_close(&mut self) {
        let _ = self.0.read_to_end(&mut Vec::new());
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.split_once("content-length: ").unwrap().1;
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    body.len() >= length
}

pub(super) fn answer(status: u16, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn chunked(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}
