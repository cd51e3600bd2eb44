//! Handlers in other processes: a publisher and two workers. One worker is killed in the middle of a
//! trace, and the other one takes its traces over and replays them whole. In this directory:
//!
//!     cargo run --example remote_handlers
//!
//! It starts `redis-server`, if that is installed, or uses the one at `REDIS_URL`.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rappel_redis::{RedisAdmin, RedisPublisher, RedisWorker};
use rappel_threads::RunId;
use rappel_threads::prelude::*;

const NAMESPACE: &str = "remote_handlers";

/// Counts the tokens of each run.
struct Billing {
    name: String,
    tokens: HashMap<RunId, usize>,
}

impl CallbackHandler for Billing {
    fn on_llm_start(&mut self, _: &LlmStart, cx: &EventContext) -> HandlerResult {
        self.tokens.insert(cx.id(), 0);
        let again = cx.remote_delivery().is_some_and(|delivery| delivery.replayed);
        let how = if again { ", from its beginning: another worker had begun it" } else { "" };
        println!("worker {}: gets {}{how}", self.name, cx.name());
        Ok(())
    }

    fn on_llm_new_token(&mut self, _: &LlmNewToken, cx: &EventContext) -> HandlerResult {
        *self.tokens.entry(cx.id()).or_default() += 1;
        Ok(())
    }

    fn on_llm_end(&mut self, _: &LlmEnd, cx: &EventContext) -> HandlerResult {
        let tokens = self.tokens.remove(&cx.id()).unwrap_or_default();
        println!("worker {}: {} had {tokens} tokens", self.name, cx.name());
        Ok(())
    }
}

/// The process of a worker: it works until its standard input is closed.
fn work(name: &str, url: &str) -> Result<(), Box<dyn Error>> {
    let billing = Billing { name: name.to_owned(), tokens: HashMap::new() };
    let callbacks = CallbackManager::new(Threads::new()).with_handler(billing);
    let worker =
        RedisWorker::new(url).namespace(NAMESPACE).group("billing").lease(Duration::from_secs(1));
    let handle = worker.handle();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        handle.stop();
    });
    let counts = worker.run(callbacks)?;
    println!("worker {name}: handled {} traces whole", counts.whole);
    Ok(())
}

/// A child process that does not outlive this one.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn start_redis() -> Result<(Option<Process>, String), Box<dyn Error>> {
    if let Ok(url) = env::var("REDIS_URL") {
        return Ok((None, url));
    }
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| {
            format!(
                "redis-server: {error}. Install it (apt-get install redis-server), or set REDIS_URL"
            )
        })?;
    let server = Process(server);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    Ok((Some(server), format!("redis://127.0.0.1:{port}/")))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, role, name, url] = &arguments[..] {
        assert_eq!(role, "work");
        return work(name, url);
    }
    let (_server, url) = start_redis()?;
    let publisher = RedisPublisher::new(url.as_str()).namespace(NAMESPACE).partitions(4).build()?;
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    let worker = |name: &str| {
        let program = env::current_exe()?;
        let child = Command::new(program).args(["work", name, &url]).stdin(Stdio::piped()).spawn();
        child.map(Process)
    };
    let (mut first, mut second) = (worker("a")?, worker("b")?);
    let mut admin = RedisAdmin::new(url.as_str(), NAMESPACE)?;
    let mut owners = || -> Result<Vec<String>, rappel_redis::Error> {
        let lag = admin.lag("billing")?;
        let mut owners: Vec<_> = lag.into_iter().filter_map(|lag| lag.owner).collect();
        owners.sort();
        Ok(owners)
    };
    // Until each has half of the partitions.
    loop {
        let owners = owners()?;
        if owners.len() == 4 && owners[1] != owners[2] {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let mut runs = Vec::new();
    for number in 1..=6 {
        let start = LlmStart::new(format!("answer {number}"), "Why?");
        let mut run = callbacks.on_llm_start(start).wait()?;
        run.on_llm_new_token("Be").wait()?;
        runs.push(run);
    }
    thread::sleep(Duration::from_millis(500));
    println!("-- worker a is killed");
    let _ = (first.0.kill(), first.0.wait());
    for mut run in runs {
        run.on_llm_new_token("cause").wait()?;
        run.end("Because").wait()?;
    }
    callbacks.shutdown(Duration::from_secs(5)).wait()?;
    let mut admin = RedisAdmin::new(url.as_str(), NAMESPACE)?;
    while admin.lag("billing")?.iter().any(|lag| lag.behind > 0) {
        thread::sleep(Duration::from_millis(50));
    }
    println!("-- all is handled");
    drop(second.0.stdin.take());
    let _ = second.0.wait();
    Ok(())
}
