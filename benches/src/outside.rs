//! What is measured in other processes: allocations, instructions, other libraries, version 1.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use crate::budget;
use crate::report::{Counts, PathCount, PeerRow, Peers, Report};

/// Why another process has no result.
#[derive(Debug)]
pub enum OutsideError {
    /// It could not be started.
    Start(String, io::Error),
    /// It failed. Its standard error says why.
    Failed(String),
    /// Its output is not valid.
    Output(String, String),
}

impl fmt::Display for OutsideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(what, error) => write!(f, "{what} does not start: {error}"),
            Self::Failed(what) => write!(f, "{what} failed"),
            Self::Output(what, why) => write!(f, "the output of {what} is not valid: {why}"),
        }
    }
}

impl std::error::Error for OutsideError {}

/// The directory of this crate: the report is a tool of the source tree.
#[must_use]
pub fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A `cargo run` by the cargo that started this process, or the one in the path.
fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(["run", "--release", "--quiet"]);
    without_own_package(&mut command);
    command
}

/// Removes the variables that cargo sets for this package. With them, build scripts of other
/// packages would run again.
fn without_own_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
        if name.to_str().is_some_and(|name| own.iter().any(|own| name.starts_with(own))) {
            command.env_remove(&name);
        }
    }
}

/// Counts allocations, in the binary whose allocator counts.
///
/// # Errors
/// If it cannot be built, or fails.
pub fn allocations(only: Option<&str>) -> Result<Counts, OutsideError> {
    allocations_of(&home(), only)
}

/// The same with the `allocations` binary of the crate in that directory.
///
/// # Errors
/// If it cannot be built, or fails.
pub fn allocations_of(home: &Path, only: Option<&str>) -> Result<Counts, OutsideError> {
    let mut command = cargo();
    command.arg("--manifest-path").arg(home.join("Cargo.toml")).args([
        "--bin",
        "allocations",
        "--",
        "--json",
    ]);
    if let Some(only) = only {
        command.args(["--only", only]);
    }
    json("the count of allocations", &mut command)
}

/// Builds and runs `benches/peers`.
///
/// # Errors
/// If it cannot be built, or fails.
pub fn peers(quick: bool) -> Result<Vec<PeerRow>, OutsideError> {
    let mut command = cargo();
    command.arg("--manifest-path").arg(home().join("peers/Cargo.toml")).args(["--", "--json"]);
    if quick {
        command.arg("--quick");
    }
    let peers: Peers = json("benches/peers", &mut command)?;
    Ok(peers.rows)
}

/// Builds version 1 of this project and measures it with its own report.
///
/// # Errors
/// If version 1 is not in the history, cannot be built, or fails.
pub fn version1(quick: bool, peers: bool) -> Result<Report, OutsideError> {
    let what = "benches/version1";
    let mut command = Command::new("bash");
    without_own_package(command.arg(home().join("version1")));
    if quick {
        command.arg("--quick");
    }
    if peers {
        command.arg("--peers");
    }
    let printed = output(what, &mut command)?;
    let path = printed.lines().last().unwrap_or_default();
    let invalid = |why: String| OutsideError::Output(what.to_owned(), why);
    let report = fs::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
    // Version 1 has other names for these rows.
    let report = report
        .replace("a token that nobody hears", budget::UNHEARD)
        .replace("nobody listens", budget::NO_HANDLER);
    serde_json::from_str(&report).map_err(|error| invalid(error.to_string()))
}

/// Measures LangChain in Python. Returns `None` if `python3` does not have it.
///
/// # Errors
/// If the script fails.
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

/// Counts the instructions of the main paths. Returns `None` without valgrind.
///
/// # Errors
/// If the script fails.
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
        Some(PathCount { path: path.trim().to_owned(), instructions })
    };
    Ok(Some(lines.lines().filter_map(path).collect()))
}

fn json<T: DeserializeOwned>(what: &str, command: &mut Command) -> Result<T, OutsideError> {
    let text = output(what, command)?;
    serde_json::from_str(&text)
        .map_err(|error| OutsideError::Output(what.to_owned(), error.to_string()))
}

fn output(what: &str, command: &mut Command) -> Result<String, OutsideError> {
    let started = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = started.map_err(|error| OutsideError::Start(what.to_owned(), error))?;
    if !output.status.success() {
        return Err(OutsideError::Failed(what.to_owned()));
    }
    String::from_utf8(output.stdout)
        .map_err(|error| OutsideError::Output(what.to_owned(), error.to_string()))
}
