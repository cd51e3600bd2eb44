//! A runtime of one's own: the page on it is what is compiled here, and the suite that it is held to sees what is wrong with a runtime.

mod broken;
mod driven;
mod suite;
#[allow(unreachable_pub, reason = "on the page it is a file of somebody else's")]
mod toy;

/// What the project's own runtimes are, by the same suite.
mod ours {
    use std::pin::pin;

    use futures_util::future::{Either, select};

    /// Runs a test, and beside it what does the work, which may be through before.
    async fn beside(test: impl Future<Output = ()>, work: impl Future<Output = ()> + Unpin) {
        if let Either::Right(((), test)) = select(pin!(test), work).await {
            test.await;
        }
    }

    mod threads {
        use rappel_core::Threads;

        rappel_testkit::runtime_suite!(Threads::new(), shut_down: |threads| threads.shut_down());
    }

    mod tokio {
        rappel_testkit::runtime_suite!(|body| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { body(rappel_tokio::Tokio::current()).await });
        });
    }

    mod futures_pool {
        use futures_executor::ThreadPool;
        use rappel_core::{FromFuturesSpawn, Threads};

        rappel_testkit::runtime_suite!(|body| {
            let threads = Threads::new();
            let pool = ThreadPool::new().expect("a pool");
            threads.block_on(body((FromFuturesSpawn(pool), threads.clone())));
        });
    }

    mod pair {
        use super::beside;

        rappel_testkit::runtime_suite!(|body| {
            let (paired, driver) = rappel_core::Paired::new();
            futures_executor::block_on(beside(body(paired), driver));
        });
    }

    /// Jobs share its thread, and say so.
    mod local {
        use rappel_local::{FromFuturesLocalSpawn, Local};

        use super::beside;

        rappel_testkit::runtime_suite!(|body| {
            let mut pool = futures_executor::LocalPool::new();
            let (local, inbox) = Local::with_inbox(FromFuturesLocalSpawn(pool.spawner()));
            pool.run_until(beside(body(local), inbox));
        });
    }
}

/// Each block of the page is a file of this module, to the letter.
#[test]
fn the_page_is_what_is_compiled() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/bring-your-own-runtime.md")).unwrap();
    let mut blocks = 0;
    for part in page.split("<!-- tests/tests/it/own_runtime/").skip(1) {
        let (name, rest) = part.split_once(" -->\n```rust\n").unwrap();
        let (code, _) = rest.split_once("```").unwrap();
        let file = std::fs::read_to_string(root.join("tests/tests/it/own_runtime").join(name)).unwrap();
        assert_eq!(code, file, "{name}");
        blocks += 1;
    }
    assert_eq!(blocks, 3);
    assert_eq!(page.matches("```").count(), 2 * blocks, "a block that is no file");
}
