//! The output and the exit status of the `replay` binary.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use rappel_core::Value;

use super::case_path;

const RUNTIMES: [&str; 4] = ["tokio", "tokio-current-thread", "async-std", "smol"];

fn replay(runtime: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replay"));
    command.args(["--runtime", runtime]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn fed(mut child: Child, input: &[u8]) -> Output {
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn replay_prints_the_log_of_a_program() {
    for name in ["joke.json", "a-handler-may-raise.json", "nobody-listens.json"] {
        let case: Value = serde_json::from_slice(&fs::read(case_path(name)).unwrap()).unwrap();
        for runtime in RUNTIMES {
            let output =
                replay(runtime).stdin(File::open(case_path(name)).unwrap()).output().unwrap();
            assert!(output.status.success(), "{name} on {runtime}");
            let log: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(log, case["expected"], "{name} on {runtime}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name} on {runtime}");
        }
    }
}

#[test]
fn replay_exits_with_2_and_one_line_if_the_program_cannot_be_read() {
    let programs: [(&[u8], &str); 4] = [
        (b"", "program: broken JSON: EOF while parsing a value at line 1 column 0\n"),
        (b"\xff\xfe", "program: broken JSON: expected value at line 1 column 1\n"),
        (b"{\"handlers\": []}", "program: `steps` is missing\n"),
        (
            b"{\"handlers\": [], \"steps\": [{\"op\": \"leap\\n\"}]}",
            "step 0: the op \"leap\\n\" is unknown\n",
        ),
    ];
    for (program, line) in programs {
        let output = fed(replay("tokio").stdin(Stdio::piped()).spawn().unwrap(), program);
        assert_eq!(String::from_utf8_lossy(&output.stderr), line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert_eq!(output.stdout, b"", "{line}");
    }
}

#[test]
fn replay_exits_with_1_and_one_line_if_its_output_is_closed() {
    let mut child = replay("smol").stdin(Stdio::piped()).spawn().unwrap();
    // Its output is closed before it has input, and so before it has a log.
    drop(child.stdout.take());
    let output = fed(child, &fs::read(case_path("joke.json")).unwrap());
    let line = String::from_utf8_lossy(&output.stderr);
    assert!(
        line.starts_with("standard output cannot be written: ") && line.lines().count() == 1,
        "{line}"
    );
    assert_eq!(output.status.code(), Some(1));
}
