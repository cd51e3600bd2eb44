//! The wakers of several tasks that wait for the same thing.

use alloc::collections::BTreeMap;
use core::num::NonZeroU64;
use core::task::Waker;

use super::task::wake;

/// Wakes all of them. Call it outside any lock, because a waker is user code.
///
/// A waker that panics does not keep the others from being woken.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(wake);
}

/// Wakers by key. A task has at most one waker in it, however often it is polled.
///
/// It neither calls nor drops a waker, because it is used under locks: every method returns the
/// wakers that it removes.
#[derive(Default)]
pub(crate) struct WakerSet {
    /// Most sets have at most one waker, which needs no map.
    first: Option<(NonZeroU64, Waker)>,
    more: BTreeMap<NonZeroU64, Waker>,
    /// The last key that was given out. Keys are never reused, so a stale key matches nothing.
    last_key: u64,
}

/// A task's key in a [`WakerSet`]; empty until the first [`register`](WakerSet::register).
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct WakerKey(Option<NonZeroU64>);

impl WakerSet {
    /// Stores the waker under `key`, or under a new key if `key` has no waker in the set.
    ///
    /// Returns the waker that it replaces. Drop that outside any lock.
    pub(crate) fn register(&mut self, key: &mut WakerKey, waker: Waker) -> Option<Waker> {
        if let Some(known) = key.0.and_then(|key| self.find(key)) {
            return Some(core::mem::replace(known, waker));
        }
        self.last_key += 1;
        let new = NonZeroU64::new(self.last_key)?;
        key.0 = Some(new);
        if self.first.is_none() {
            self.first = Some((new, waker));
        } else {
            self.more.insert(new, waker);
        }
        None
    }

    /// Removes the waker of `key`, for a future that is dropped or ready.
    pub(crate) fn remove(&mut self, key: &mut WakerKey) -> Option<Waker> {
        let key = key.0.take()?;
        if self.first.as_ref().is_some_and(|(first, _)| *first == key) {
            return self.first.take().map(|(_, waker)| waker);
        }
        self.more.remove(&key)
    }

    /// Removes all wakers, to be woken outside any lock with [`wake_all`].
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        let more = core::mem::take(&mut self.more);
        let first = self.first.take().map(|(_, waker)| waker);
        first.into_iter().chain(more.into_values())
    }

    fn find(&mut self, key: NonZeroU64) -> Option<&mut Waker> {
        match &mut self.first {
            Some((first, waker)) if *first == key => Some(waker),
            _ => self.more.get_mut(&key),
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use alloc::sync::Arc;
    use alloc::task::Wake;
    use alloc::vec::Vec;
    use core::task::Waker;

    use super::{WakerKey, WakerSet, wake_all};
    use crate::util::sync::{AtomicUsize, Ordering};

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (count.clone(), Waker::from(count))
    }

    #[test]
    fn a_task_has_one_waker_however_often_it_registers() {
        let (first, first_waker) = counted();
        let (second, second_waker) = counted();
        let (mut set, mut key) = (WakerSet::default(), WakerKey::default());
        assert!(set.register(&mut key, first_waker).is_none());
        assert!(set.register(&mut key, second_waker).is_some());
        wake_all(set.take());
        assert_eq!(set.take().count(), 0);
        assert_eq!(first.0.load(Ordering::Relaxed), 0);
        assert_eq!(second.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_key_from_before_take_does_not_replace_another_tasks_waker() {
        let (count, waker) = counted();
        let (mut set, mut old, mut new) =
            (WakerSet::default(), WakerKey::default(), WakerKey::default());
        set.register(&mut old, waker.clone());
        drop(set.take());
        set.register(&mut new, waker.clone());
        assert!(set.register(&mut old, waker).is_none());
        wake_all(set.take());
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_removed_task_is_not_woken() {
        let (count, waker) = counted();
        let mut set = WakerSet::default();
        let mut keys: Vec<WakerKey> = (0..1600).map(|_| WakerKey::default()).collect();
        for key in &mut keys {
            set.register(key, waker.clone());
        }
        for key in keys.iter_mut().skip(1) {
            assert!(set.remove(key).is_some());
            assert!(set.remove(key).is_none());
        }
        wake_all(set.take());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
