//! [`Ledger`]: a flush ends when what was opened before it is handled, and not sooner.

use alloc::sync::Arc;

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::ledger::{Ledger, Ticket};
use crate::model::model;

/// Breaks where `close` settles a page without waking who waits for it, where a flush enlists without looking, or where it does not turn the page.
#[test]
fn while_a_ticket_comes_and_goes() {
    model(3, || {
        let ledger = Arc::new(Ledger::new());
        let emitter = ledger.clone();
        let thread = thread::spawn(move || drop(Ticket::new(&emitter)));
        block_on(ledger.flush());
        thread.join().unwrap();
        assert_eq!(ledger.open_count(), 0);
    });
}

/// Breaks where a flush takes a page for settled on which something is open, or where the pages before it are let go of in another order.
#[test]
fn once_what_came_before_is_handled() {
    model(3, || {
        let ledger = Arc::new(Ledger::new());
        let handled = Arc::new(AtomicUsize::new(0));
        let threads = [(); 2].map(|()| {
            let (ticket, handled) = (Ticket::new(&ledger), handled.clone());
            // Turns the page, so that the two are on pages of their own; nobody waits for this one.
            drop(ledger.flush());
            thread::spawn(move || {
                handled.fetch_add(1, Ordering::Relaxed);
                drop(ticket);
            })
        });
        block_on(ledger.flush());
        assert_eq!(handled.load(Ordering::Relaxed), 2);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Breaks where a flush counts on its own page, or where one event's place is taken for another's.
#[test]
fn whatever_comes_after() {
    model(3, || {
        let ledger = Arc::new(Ledger::new());
        let before = Ticket::new(&ledger);
        let flush = ledger.flush();
        let after = Ticket::new(&ledger);
        let thread = thread::spawn(move || drop(before));
        // It would wait for ever otherwise: this one is dropped only once it is over.
        block_on(flush);
        assert_eq!(ledger.open_count(), 1);
        drop(after);
        thread.join().unwrap();
        assert_eq!(ledger.open_count(), 0);
    });
}

/// Breaks where one page's settling wakes one of those who wait for it, or where a flush that is dropped takes another one's place with it.
#[test]
fn each_of_several() {
    model(3, || {
        let ledger = Arc::new(Ledger::new());
        let ticket = Ticket::new(&ledger);
        let given_up = ledger.flush();
        let other = ledger.flush();
        let waiter = thread::spawn(move || block_on(other));
        let emitter = thread::spawn(move || drop(ticket));
        drop(given_up);
        block_on(ledger.flush());
        waiter.join().unwrap();
        emitter.join().unwrap();
    });
}
