//! Detects a load that hangs, and prints which handlers lack events.

use std::io::{self, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::load::{Load, Track};

/// The longest time without a call of a handler. No call takes this long, even on a busy machine.
const STALLED: Duration = Duration::from_secs(20);

/// Ends the process if no handler is called for that time, until it is dropped.
pub(crate) struct Watch(#[allow(dead_code, reason = "its drop is the signal")] Sender<()>);

impl Watch {
    pub(crate) fn start(load: &Arc<Load>, tracks: &[Arc<Track>]) -> Self {
        let (alive, watched) = channel();
        let (load, tracks) = (load.clone(), tracks.to_vec());
        thread::spawn(move || {
            let mut before = 0;
            while watched.recv_timeout(STALLED) == Err(RecvTimeoutError::Timeout) {
                let now = tracks.iter().map(|track| track.calls()).sum();
                if now == before {
                    give_up(&load, &tracks);
                }
                before = now;
            }
        });
        Self(alive)
    }
}

fn give_up(load: &Load, tracks: &[Arc<Track>]) {
    tracks.iter().for_each(|track| track.check_complete());
    let begun: usize = load.begun.iter().map(|begun| begun.load(Ordering::Acquire)).sum();
    let mut error = io::stderr().lock();
    let _ = writeln!(error, "no handler was called for {STALLED:?}, after {begun} events:");
    for problem in load.problems() {
        let _ = writeln!(error, "{problem}");
    }
    process::exit(1);
}
