//! Records of events, and their replay.

#[cfg(feature = "std")]
use crate::model::record::Recorder;
#[cfg(feature = "std")]
use crate::model::run_info::RunId;

#[cfg(feature = "std")]
impl Recorder {
    /// Makes a recorder with a random source: a UUID.
    #[must_use]
    pub fn with_random_source() -> Self {
        use crate::runtime::{Clock as _, Entropy as _, SystemClock, SystemEntropy};
        use alloc::string::ToString as _;
        let mut random = [0; 10];
        SystemEntropy.fill(&mut random);
        let id = RunId::v7(SystemClock.now().unwrap_or_default(), random);
        Self::new(id.to_string())
    }
}
