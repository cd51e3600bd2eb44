//! The examples with a page, as processes, and headless Chromium, driven by chromedriver.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, json};
use tempfile::TempDir;

/// An error of a process or of the driver. The tests panic with it.
pub type Failed = Box<dyn Error + Send + Sync>;

/// The project's root.
#[must_use]
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// A process that is killed when it is dropped, and the lines that it writes.
struct Process {
    child: Child,
    lines: Lines,
}

type Lines = Arc<(Mutex<Vec<String>>, Condvar)>;

impl Process {
    fn start(command: &mut Command) -> Result<Self, Failed> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = command.get_program().display().to_string();
        let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let lines = Lines::default();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    lines.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    lines.1.notify_all();
                }
            });
        }
        Ok(Self { child, lines })
    }

    /// Waits until `count` lines match. Returns the last of them.
    fn wait_for(
        &self,
        count: usize,
        matches: impl Fn(&str) -> bool,
        limit: Duration,
    ) -> Result<String, Failed> {
        let lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = |lines: &[String]| lines.iter().filter(|line| matches(line)).count() >= count;
        let waited = self.lines.1.wait_timeout_while(lines, limit, |lines| !found(lines));
        let lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        let line = lines.iter().filter(|line| matches(line)).nth(count - 1).cloned();
        line.ok_or_else(|| format!("it has written only:\n{}", lines.join("\n")).into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error here is a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An example with a page, on a free port.
pub struct Example {
    process: Process,
    /// Its address.
    pub url: String,
}

impl Example {
    /// Builds and starts the example of that name with those arguments. It has that key, and
    /// `RAPPEL_PORT`, in its environment.
    ///
    /// # Errors
    /// If it cannot be built or started.
    pub fn start(name: &str, arguments: &[&str], key: Option<&str>) -> Result<Self, Failed> {
        let target = std::env::var_os("RAPPEL_TARGET_DIR");
        let target = target.map_or_else(|| root().join("target"), PathBuf::from);
        let built = Command::new(env!("CARGO"))
            .args(["build", "-q", "--locked", "-p", "rappel-examples", "--example", name])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(root())
            .status()?;
        if !built.success() {
            return Err(format!("{name} does not build").into());
        }
        let mut command = Command::new(target.join("debug/examples").join(name));
        command.args(arguments).env("RAPPEL_PORT", "0").current_dir(root());
        command.env_remove("OPENAI_BASE_URL").env_remove("OPENAI_API_KEY");
        command.envs(key.map(|key| ("OPENAI_API_KEY", key)));
        let process = Process::start(&mut command)?;
        let url = process.wait_for(1, |line| line.starts_with("http://"), SOON)?;
        Ok(Self { process, url })
    }

    /// Waits until its log of runs has `count` lines with that text.
    ///
    /// # Errors
    /// If it does not have them soon.
    pub fn logs(&self, count: usize, text: &str) -> Result<(), Failed> {
        self.process.wait_for(count, |line| line.contains(text), SOON).map(drop)
    }
}

/// How long something immediate may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// A headless Chromium with a new profile.
pub struct Browser {
    /// The driver's client.
    pub client: Client,
    // Dropped first: it ends the browser.
    _driver: Driver,
    _profile: TempDir,
}

/// chromedriver. Killing it would leave its browsers.
struct Driver {
    port: u16,
    _process: Process,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // An error here is a driver that has ended. The answer comes when its browsers have ended.
        let _ = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut socket| {
            socket.set_read_timeout(Some(SOON))?;
            socket.write_all(b"GET /shutdown HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
            socket.read(&mut [0; 1])
        });
    }
}

impl Browser {
    /// Starts it, with a window of that size in CSS pixels.
    ///
    /// # Errors
    /// If chromium or chromedriver are not there.
    pub async fn start(size: (u32, u32), is_dark: bool, scale: f32) -> Result<Self, Failed> {
        let process = Process::start(Command::new("chromedriver").arg("--port=0"))?;
        let line = process.wait_for(1, |line| line.contains("successfully on port "), SOON)?;
        let port = line.rsplit("on port ").next().unwrap_or_default().trim_end_matches('.');
        let driver = Driver { port: port.parse()?, _process: process };
        let profile = tempfile::tempdir()?;
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ];
        let mut args: Vec<String> = args.map(str::to_owned).into();
        args.push(format!("--user-data-dir={}", profile.path().display()));
        args.push(format!("--window-size={},{}", size.0, size.1));
        args.push(format!("--force-device-scale-factor={scale}"));
        args.push(format!("--blink-settings=preferredColorScheme={}", u8::from(!is_dark)));
        let capabilities = Map::from_iter([
            ("browserName".to_owned(), json!("chrome")),
            ("goog:chromeOptions".to_owned(), json!({ "args": args })),
        ]);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{}", driver.port))
            .await?;
        Ok(Self { client, _driver: driver, _profile: profile })
    }

    /// Ends the browser. It also ends when it is dropped.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub async fn close(self) -> Result<(), Failed> {
        Ok(self.client.clone().close().await?)
    }
}
