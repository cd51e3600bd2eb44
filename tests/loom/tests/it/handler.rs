//! What core's queues take from `handler`.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    Wait,
    Coalesce,
    DropOldest,
    DropNewest,
}
