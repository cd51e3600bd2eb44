//! What a user of rappel would notice, on every runtime.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod a_runtime_that_is_gone;
mod auto_traits;
mod blocking_code;
mod chat_start_falls_back;
mod code_inside_a_run;
mod conformance;
mod crashes;
mod errors_and_messages;
mod events_are_data;
mod every_handler_is_called;
mod examples;
mod levels_inherit;
mod local_handlers;
mod managers_combine;
mod openai_answers;
mod openai_cancelled;
mod openai_faults;
mod openai_fuzz_corpus;
mod openai_limits;
mod openai_own_transport;
mod openai_requests;
mod openai_responses;
mod openai_results;
mod openai_retries;
mod openai_secrets;
mod openai_settings;
mod openai_wire;
mod own_runtime;
mod parents_that_end_first;
mod plain_threads;
mod promises;
mod quickstart;
mod readme;
mod records_are_replayed;
mod runs_as_spans;
mod starts_take_their_place;
mod streams_with_callbacks;
mod testkit;
mod the_scene;
mod two_events_of_one_run;
mod without_a_runtime;
