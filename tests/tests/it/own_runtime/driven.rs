use std::sync::Arc;

use rappel_smol::Smol;
use rappel_testkit::runtime_suite;
use smol::Executor;

runtime_suite!(|body| {
    let executor = Arc::new(Executor::new());
    smol::block_on(executor.run(body(Smol::with_executor(&executor))));
});
