//! A user's own runtime: the code of docs/bring-your-own-runtime.md is compiled here, and the suite
//! for runtimes finds the faults of broken ones.

mod broken;
mod driven;
mod suite;
#[allow(unreachable_pub, reason = "in the docs it is a file of the user's crate")]
mod toy;

/// The same suite on the runtimes of this project.
mod ours {
    use std::pin::pin;

    use futures_util::future::{Either, select};

    /// Runs a test beside the future that does its work. That future may be ready first.
    async fn beside(test: impl Future<Output = ()>, work: impl Future<Output = ()> + Unpin) {
        if let Either::Right(((), test)) = select(pin!(test), work).await {
            test.await;
        }
    }

    mod threads {
        use rappel_threads::Threads;

        rappel_testkit::runtime_suite!(Threads::new(), shut_down: |threads| threads.shut_down());
    }

    mod tokio {
        rappel_testkit::runtime_suite!(|body| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().unwrap();
            runtime.block_on(async { body(rappel_tokio::Tokio::current()).await });
        });
    }

    mod futures_pool {
        use futures_executor::ThreadPool;
        use rappel_core::FromFuturesSpawn;
        use rappel_threads::Threads;

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

    /// Blocking jobs share its thread: `linger` is zero.
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

#[test]
fn each_block_of_the_page_is_a_file_of_this_module() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/bring-your-own-runtime.md")).unwrap();
    let mut blocks = 0;
    for part in page.split("<!-- tests/tests/it/own_runtime/").skip(1) {
        let (name, rest) = part.split_once(" -->\n```rust\n").unwrap();
        let (code, _) = rest.split_once("```").unwrap();
        let path = root.join("tests/tests/it/own_runtime").join(name);
        let file = std::fs::read_to_string(path).unwrap();
        assert_eq!(code, file, "{name}");
        blocks += 1;
    }
    assert_eq!(blocks, 3);
    assert_eq!(page.matches("```").count(), 2 * blocks, "a block without a file");
}
