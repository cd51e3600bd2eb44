//! A Redis server for a test, on a free port of this machine.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) struct Server {
    pub(crate) port: u16,
    directory: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// Starts a server. `None`, with a word about it, if there is none to start.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let server = Self::new(arguments).and_then(|mut server| server.run().map(|()| server));
        match server {
            Ok(server) => Some(server),
            Err(error) if std::env::var_os("CI_STRICT").is_some() => {
                panic!("redis-server: {error}")
            }
            Err(error) => {
                eprintln!("NOT CHECKED: redis-server cannot be started: {error}");
                None
            }
        }
    }

    fn new(arguments: &[&str]) -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Ok(Self { port, directory: tempfile::tempdir()?, arguments, child: None })
    }

    /// Starts the process, with what it has on its disk.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let port = self.port.to_string();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"])
            .args(if self.arguments.iter().any(|a| a == "--port") {
                vec![]
            } else {
                vec!["--port", &port]
            })
            .args(&self.arguments)
            .current_dir(self.directory.path())
            .stdout(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > until {
                return Err(io::Error::other("it does not listen"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Kills it, with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    #[allow(dead_code, reason = "each test binary uses a part of it")]
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A connection of the test's own.
    #[allow(dead_code, reason = "each test binary uses a part of it")]
    pub(crate) fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let ready = client.get_connection().and_then(|mut connection| {
                redis::cmd("PING").query::<String>(&mut connection).map(|_| connection)
            });
            match ready {
                Ok(connection) => return connection,
                Err(error) if Instant::now() > until => panic!("{error}"),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `done`, for a time that is only reached if something is wrong.
#[allow(dead_code, reason = "each test binary uses a part of it")]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < until, "it takes too long: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
