//! The processes, and what is done to them.

use std::fmt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rappel_redis::RedisAdmin;
use rustix::process::{Pid, Signal, kill_process};

use crate::proxy::Proxy;
use crate::roles::LEASE;
use crate::support::Server;

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillWorker,
    StopWorker,
    KillPublisher,
    KillRedis,
    Stall,
    Cut,
    Full,
}

/// What is done, one after the other.
pub(crate) struct Plan(Vec<Fault>);

impl Plan {
    pub(crate) fn draw(traces: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        // Each of them at least once.
        let mut faults = vec![
            Fault::KillWorker,
            Fault::StopWorker,
            Fault::KillPublisher,
            Fault::KillRedis,
            Fault::Stall,
            Fault::Cut,
            Fault::Full,
        ];
        let often =
            [Fault::KillWorker, Fault::KillWorker, Fault::StopWorker, Fault::Stall, Fault::Cut];
        for _ in 0..traces / 500 {
            faults.push(often[rng.usize(..often.len())]);
        }
        for _ in 0..traces / 10_000 {
            faults.extend([Fault::KillPublisher, Fault::KillRedis, Fault::Full]);
        }
        rng.shuffle(&mut faults);
        Self(faults)
    }
}

/// All processes of a proof.
pub(crate) struct Fleet {
    server: Server,
    proxy: Proxy,
    files: PathBuf,
    publishers: Vec<(Child, usize)>,
    workers: Vec<Child>,
    number: usize,
    rng: Rng,
    done: Vec<Fault>,
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

impl Fleet {
    pub(crate) fn start(server: Server, files: PathBuf, traces: usize, seed: u64) -> Self {
        let proxy = Proxy::start(server.port);
        let rng = Rng::with_seed(seed ^ 1);
        let (publishers, workers) = (Vec::new(), Vec::new());
        let mut fleet =
            Self { server, proxy, files, publishers, workers, number: 0, rng, done: Vec::new() };
        for _ in 0..2 {
            let publisher = fleet.publisher(traces / 2);
            fleet.publishers.push((publisher, traces / 2));
        }
        for _ in 0..3 {
            let worker = fleet.worker();
            fleet.workers.push(worker);
        }
        fleet
    }

    fn spawn(&mut self, role: &str, more: &[String]) -> Child {
        self.number += 1;
        let file = self.files.join(format!("{role}-{}.log", self.number));
        Command::new(std::env::current_exe().expect("this program"))
            .arg(role)
            .arg(self.proxy.port.to_string())
            .arg(file)
            .args(more)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a process")
    }

    fn publisher(&mut self, traces: usize) -> Child {
        self.spawn("publish", &[traces.to_string()])
    }

    fn worker(&mut self) -> Child {
        self.spawn("work", &[])
    }

    pub(crate) fn run(&mut self, plan: &Plan) {
        for fault in &plan.0 {
            let pause = self.rng.u64(300..1500);
            thread::sleep(Duration::from_millis(pause));
            self.revive();
            println!("{fault:?}");
            self.done.push(*fault);
            self.inflict(*fault);
        }
        self.revive();
    }

    /// Starts workers that could not reach the server again.
    fn revive(&mut self) {
        for number in 0..self.workers.len() {
            if let Ok(Some(status)) = self.workers[number].try_wait() {
                assert_eq!(status.code(), Some(3), "a worker has ended by itself");
                self.workers[number] = self.worker();
            }
        }
    }

    fn inflict(&mut self, fault: Fault) {
        let worker = self.rng.usize(..self.workers.len());
        match fault {
            Fault::KillWorker => {
                let next = self.worker();
                let mut killed = std::mem::replace(&mut self.workers[worker], next);
                let _ = (killed.kill(), killed.wait());
            }
            Fault::StopWorker => {
                let pid = pid(&self.workers[worker]);
                let _ = kill_process(pid, Signal::STOP);
                thread::sleep(LEASE + Duration::from_millis(1500));
                let _ = kill_process(pid, Signal::CONT);
            }
            Fault::KillPublisher => {
                // The one that was started last. Another process goes on in its place.
                let Some((mut publisher, traces)) = self.publishers.pop() else { return };
                if matches!(publisher.try_wait(), Ok(Some(_))) {
                    self.publishers.push((publisher, traces));
                    return;
                }
                let _ = (publisher.kill(), publisher.wait());
                let next = self.publisher(traces / 2);
                self.publishers.push((next, traces / 2));
            }
            Fault::KillRedis => {
                self.server.kill();
                thread::sleep(Duration::from_millis(800));
                self.server.run().expect("a server");
            }
            Fault::Stall => {
                let time = self.rng.u64(300..2500);
                self.proxy.stall(Duration::from_millis(time));
            }
            Fault::Cut => self.proxy.cut(),
            Fault::Full => {
                let mut connection = self.server.connection();
                for bytes in [1, 0] {
                    let mut set = redis::cmd("CONFIG");
                    set.arg("SET").arg("maxmemory").arg(bytes);
                    set.query::<()>(&mut connection).expect("a setting");
                    thread::sleep(Duration::from_millis(1500 * bytes));
                }
            }
        }
    }

    /// Waits until all is published, handled and acknowledged.
    pub(crate) fn drain(&mut self, most: Duration) -> bool {
        for (publisher, _) in &mut self.publishers {
            let status = publisher.wait().expect("a status");
            assert!(status.success(), "a publisher has failed");
        }
        let until = Instant::now() + most;
        drop(self.server.connection());
        let mut admin = RedisAdmin::new(self.server.url(), "rappel").expect("a namespace");
        while Instant::now() < until {
            self.revive();
            let lag = admin.lag("proof").expect("the lag");
            if lag.iter().all(|lag| lag.behind == 0) {
                return true;
            }
            thread::sleep(Duration::from_millis(100));
        }
        println!("{:#?}", admin.lag("proof"));
        false
    }

    /// Ends the workers, and says what was done.
    pub(crate) fn stop(mut self) -> String {
        for worker in &mut self.workers {
            drop(worker.stdin.take());
        }
        for worker in &mut self.workers {
            let status = worker.wait().expect("a status");
            assert!(matches!(status.code(), Some(0 | 3)), "a worker does not stop: {status}");
        }
        format!("{self:?}")
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |fault: fn(&Fault) -> bool| self.done.iter().filter(|f| fault(f)).count();
        write!(
            f,
            "{} workers killed, {} stopped beyond their lease, {} publishers killed, Redis killed {} \
             times and full {} times, {} stalls, {} cuts",
            count(|f| matches!(f, Fault::KillWorker)),
            count(|f| matches!(f, Fault::StopWorker)),
            count(|f| matches!(f, Fault::KillPublisher)),
            count(|f| matches!(f, Fault::KillRedis)),
            count(|f| matches!(f, Fault::Full)),
            count(|f| matches!(f, Fault::Stall)),
            count(|f| matches!(f, Fault::Cut)),
        )
    }
}

/// What is left running if something fails.
impl Drop for Fleet {
    fn drop(&mut self) {
        let publishers = self.publishers.iter_mut().map(|(child, _)| child);
        for child in publishers.chain(&mut self.workers) {
            let _ = (child.kill(), child.wait());
        }
    }
}
