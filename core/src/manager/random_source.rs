//! The random source of a recorder.

use alloc::string::ToString as _;

use crate::model::record::Recorder;
use crate::model::run_info::RunId;
use crate::runtime::{Clock as _, Entropy as _, SystemClock, SystemEntropy};

impl Recorder {
    /// Makes a recorder with a random source: a UUID.
    #[must_use]
    pub fn with_random_source() -> Self {
        let mut random = [0; 10];
        SystemEntropy.fill(&mut random);
        let id = RunId::v7(SystemClock.now().unwrap_or_default(), random);
        Self::new(id.to_string())
    }
}
