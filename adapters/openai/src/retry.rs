//! Whether and when a failed request is sent again.

use core::time::Duration;

use crate::error::OpenAiError;

/// The maximum number of retries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retries {
    pub(crate) most: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { most: 2 }
    }
}

impl Retries {
    /// The first wait, before the jitter. It doubles with each attempt.
    const FIRST: Duration = Duration::from_millis(500);

    /// The longest wait without a `retry-after`.
    const LONGEST: Duration = Duration::from_secs(8);

    /// The longest `retry-after` that is waited for. A call should not wait for longer, and an
    /// earlier attempt would be refused again.
    const LONGEST_ASKED: Duration = Duration::from_secs(60);

    /// The wait after a failed attempt, or `None` if it was the last one. Attempts count from 1.
    pub(crate) fn wait(self, attempt: u32, failure: &OpenAiError) -> Option<Duration> {
        if attempt > self.most || !failure.is_retryable() {
            return None;
        }
        match failure {
            OpenAiError::Status { retry_after: Some(asked), .. } => {
                Some(*asked).filter(|asked| *asked <= Self::LONGEST_ASKED)
            }
            _ => Some(Self::back_off(attempt).mul_f64(0.5 + fastrand::f64() / 2.0)),
        }
    }

    /// The wait before the jitter. Up to half of it is random, so that clients that failed together
    /// do not retry together.
    fn back_off(attempt: u32) -> Duration {
        Self::FIRST
            .saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)))
            .min(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<Duration>) -> OpenAiError {
        OpenAiError::Status {
            status,
            code: None,
            kind: None,
            message: String::new(),
            retry_after,
            should_retry: None,
            server: Box::default(),
        }
    }

    #[test]
    fn waits_grow_and_are_random() {
        let retries = Retries { most: u32::MAX };
        for (attempt, most) in
            [(1, 500), (2, 1000), (3, 2000), (5, 8000), (6, 8000), (u32::MAX, 8000)]
        {
            let most = Duration::from_millis(most);
            let waits: Vec<_> =
                (0..50).filter_map(|_| retries.wait(attempt, &status(500, None))).collect();
            assert_eq!(waits.len(), 50);
            assert!(waits.iter().all(|wait| (most / 2..=most).contains(wait)), "{waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]));
        }
    }

    #[test]
    fn the_wait_is_what_the_server_asks_for() {
        let retries = Retries::default();
        for seconds in [0, 1, 60] {
            let asked = Duration::from_secs(seconds);
            assert_eq!(retries.wait(1, &status(429, Some(asked))), Some(asked));
        }
        assert_eq!(retries.wait(1, &status(429, Some(Duration::from_secs(61)))), None);
    }

    #[test]
    fn attempts_are_limited_and_permanent_errors_are_not_retried() {
        let retries = Retries { most: 2 };
        assert!(retries.wait(2, &status(503, None)).is_some());
        assert!(retries.wait(3, &status(503, None)).is_none());
        assert!(retries.wait(1, &status(401, Some(Duration::ZERO))).is_none());
        assert!(Retries { most: 0 }.wait(1, &status(503, None)).is_none());
    }
}
