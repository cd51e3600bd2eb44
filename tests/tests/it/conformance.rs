//! Callback programs give the logs that LangChain's own managers gave. See
//! `tests/conformance/README.md`.

mod broken_programs;
mod mangled_programs;
mod replay_binary;
mod tricky_programs;

use std::fs;
use std::path::PathBuf;

use rappel_core::Value;
use rappel_tests::on_every_runtime;
use rappel_tests::replay::Program;
use rappel_tests::runtimes::Rt;

fn case_path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "conformance", "cases", name].iter().collect()
}

/// All cases, by name.
fn cases() -> Vec<(String, Value)> {
    programs(case_path(""))
}

/// All programs of a directory, by name.
fn programs(directory: PathBuf) -> Vec<(String, Value)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let case = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap())
    };
    paths.into_iter().map(case).collect()
}

/// A program's log as JSON.
async fn log_of(program: &Value, rt: &Rt) -> Value {
    let program = Program::read(program.to_string().as_bytes()).unwrap();
    serde_json::to_value(program.play(rt.callbacks()).await).unwrap()
}

on_every_runtime! {
    async fn every_conformance_case_gives_its_log(rt) {
        let cases = cases();
        assert!(cases.len() >= 50, "the cases are in the repository");
        for (name, case) in cases {
            assert_eq!(log_of(&case, &rt).await, case["expected"], "{name}");
        }
    }

    async fn every_event_program_gives_langchains_events(rt) {
        let events = [env!("CARGO_MANIFEST_DIR"), "conformance", "events"].iter().collect();
        let programs = programs(events);
        assert!(programs.len() >= 30, "the programs are in the repository");
        for (name, case) in programs {
            let program = Program::read(case.to_string().as_bytes()).unwrap();
            let events = program.play_events(rt.callbacks()).await;
            assert_eq!(Value::from_iter(events), case["expected"], "{name}");
        }
    }
}
