#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod broker;
mod entry;
mod error;
mod id;
mod keys;
mod lag;
mod partition;
mod publisher;
mod worker;

#[doc(no_inline)]
pub use broker::{Broker, Connect, MemoryBroker, MemoryStore};
pub use entry::{Body, Entry, Fields};
pub use error::Error;
pub use id::{StreamId, StreamIdError};
pub use lag::{Lag, RedisAdmin};
pub use partition::partition_of;
pub use publisher::{PublisherBuilder, PublisherCounts, PublisherHandle, RedisPublisher};
pub use worker::{Incomplete, OnHandlerError, RedisWorker, WorkerCounts, WorkerHandle};

/// The programs of the page `docs/redis.md` compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/redis.md")]
struct Page;
