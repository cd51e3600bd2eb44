//! The guide. Each page is a module with programs that run.

macro_rules! pages {
    ($($page:ident $file:literal)+) => {
        $(#[doc = include_str!(concat!("../guide/", $file, ".md"))] pub mod $page {})+
    };
}

pages! {
    first_steps "first_steps"
    writing_handlers "writing_handlers"
    tools_and_agents "tools_and_agents"
    a_handler_per_request "a_handler_per_request"
    streams_to_front_ends "streams_to_front_ends"
    delivery "delivery"
    cancellation_and_shutdown "cancellation_and_shutdown"
    context "context"
    testing "testing"
    from_langchain "from_langchain"
    from_tracing "from_tracing"
    bringing_a_runtime "bringing_a_runtime"
    no_std "no_std"
    writing_an_adapter "writing_an_adapter"
    events_on_the_wire "events_on_the_wire"
    faq "faq"
}
