//! The small model server of the examples, so that they run without a key.

use std::env;
use std::io::{self, Write};

use rappel_tests::openai_server::{Script, Server};

/// Starts a server whose model answers by a script. `None` if the environment names a server or has
/// a key. The server runs until it is dropped.
///
/// # Errors
/// If it cannot listen on loopback.
pub(crate) fn server(script: Script) -> io::Result<Option<Server>> {
    let named = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    if named("OPENAI_BASE_URL") || named("OPENAI_API_KEY") {
        return Ok(None);
    }
    let server = Server::start(script)?;
    writeln!(
        io::stderr(),
        "(no OPENAI_BASE_URL or OPENAI_API_KEY: asking an embedded server, {}, whose model answers \
         by a script)",
        server.base_url()
    )?;
    Ok(Some(server))
}
