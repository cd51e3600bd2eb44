//! Runs this crate's examples as a user does.

use std::path::Path;
use std::process::{Command, Stdio};

/// Builds an example of this package. Returns the command that runs it, without OpenAI's variables
/// in the environment.
pub(crate) fn example(name: &str) -> Command {
    example_of("rappel-tests", name)
}

/// Builds an example of a package, with all of its features.
pub(crate) fn example_of(package: &str, name: &str) -> Command {
    // TARGET/PROFILE/deps/it-…
    let here = std::env::current_exe().unwrap();
    let profile = here.ancestors().nth(2).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "-q", "-p", package, "--all-features", "--example", name]);
    build.arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "the example does not build");
    let binary = Path::new("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    let mut command = Command::new(profile.join(binary));
    command.env_remove("OPENAI_BASE_URL").env_remove("OPENAI_API_KEY").stdin(Stdio::null());
    command
}
