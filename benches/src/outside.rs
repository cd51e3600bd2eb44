//! What is measured in processes of their own: allocations, instructions, other libraries.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use crate::report::{Counts, PathCount, PeerRow, Peers};

/// Why another process told nothing.
#[derive(Debug)]
pub enum OutsideError {
    /// It could not be started.
    Start(String, io::Error),
    /// It failed, and has said why on standard error.
    Failed(String),
    /// What it printed is not what was asked for.
    Output(String, String),
}

impl fmt::Display for OutsideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(what, error) => write!(f, "{what} does not start: {error}"),
            Self::Failed(what) => write!(f, "{what} failed"),
            Self::Output(what, why) => write!(f, "{what} printed something else: {why}"),
        }
    }
}

impl std::error::Error for OutsideError {}

/// Where this crate is: the report is a tool of the source tree.
#[must_use]
pub fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The cargo that started this, or the one that is found.
fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(["run", "--release", "--quiet"]);
    // What this cargo tells of this package would have build scripts of others run again.
    for (name, _) in env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
        if name.to_str().is_some_and(|name| told.iter().any(|told| name.starts_with(told))) {
            command.env_remove(&name);
        }
    }
    command
}

/// Counts allocations, in the binary whose allocator counts.
///
/// # Errors
/// When that cannot be built, or fails.
pub fn allocations(only: Option<&str>) -> Result<Counts, OutsideError> {
    allocations_of(&home(), only)
}

/// The same, of the crate in that directory, which has such a binary, too.
///
/// # Errors
/// When that cannot be built, or fails.
pub fn allocations_of(home: &Path, only: Option<&str>) -> Result<Counts, OutsideError> {
    let mut command = cargo();
    command
        .arg("--manifest-path")
        .arg(home.join("Cargo.toml"))
        .args(["--bin", "allocations", "--", "--json"]);
    if let Some(only) = only {
        command.args(["--only", only]);
    }
    json("the count of allocations", &mut command)
}

/// Builds and runs the other libraries' crate.
///
/// # Errors
/// When that cannot be built, or fails.
pub fn peers(quick: bool) -> Result<Vec<PeerRow>, OutsideError> {
    let mut command = cargo();
    command
        .arg("--manifest-path")
        .arg(home().join("peers/Cargo.toml"))
        .args(["--", "--json"]);
    if quick {
        command.arg("--quick");
    }
    let peers: Peers = json("benches/peers", &mut command)?;
    Ok(peers.rows)
}

/// Measures LangChain in Python; nothing where there is no `python3` that has it.
///
/// # Errors
/// When the script fails.
pub fn langchain(quick: bool) -> Result<Option<Vec<PeerRow>>, OutsideError> {
    let has_langchain = Command::new("python3")
        .args(["-c", "import langchain_core"])
        .stderr(Stdio::null())
        .status();
    if !has_langchain.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let mut command = Command::new("python3");
    command.arg(home().join("langchain.py"));
    if quick {
        command.arg("--quick");
    }
    let peers: Peers = json("langchain.py", &mut command)?;
    Ok(Some(peers.rows))
}

/// Counts the instructions of the main paths; nothing where there is no valgrind.
///
/// # Errors
/// When the script fails.
pub fn instructions() -> Result<Option<Vec<PathCount>>, OutsideError> {
    let has_valgrind = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !has_valgrind.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let script = home().join("instructions");
    let lines = output(
        "the count of instructions",
        Command::new(Path::new("bash")).arg(script).arg("--print"),
    )?;
    let path = |line: &str| {
        let (path, instructions) = line.split_once('=')?;
        let instructions = instructions.trim().parse().ok()?;
        Some(PathCount {
            path: path.trim().to_owned(),
            instructions,
        })
    };
    Ok(Some(lines.lines().filter_map(path).collect()))
}

fn json<T: DeserializeOwned>(what: &str, command: &mut Command) -> Result<T, OutsideError> {
    let text = output(what, command)?;
    serde_json::from_str(&text).map_err(|error| OutsideError::Output(what.to_owned(), error.to_string()))
}

fn output(what: &str, command: &mut Command) -> Result<String, OutsideError> {
    let started = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = started.map_err(|error| OutsideError::Start(what.to_owned(), error))?;
    if !output.status.success() {
        return Err(OutsideError::Failed(what.to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|error| OutsideError::Output(what.to_owned(), error.to_string()))
}
