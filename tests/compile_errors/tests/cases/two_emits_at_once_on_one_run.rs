//! Fix: await one after the other, or emit on children.

use rappel_core::prelude::*;

async fn emit(mut run: LlmRun) {
    let first = run.on_llm_new_token("a");
    let second = run.on_llm_new_token("b");
    let _ = (first.await, second.await);
}

fn main() {
    let _ = emit;
}
