//! Locks, atomics and threads of the node, its log and its disk: parking_lot's, arc-swap's and std's.
//!
//! With the feature `shuttle` they are the model checker's, which decides at every one of their calls which thread goes
//! on: `tests/interleavings` has it try many orders. It knows no time, and no order weaker than sequential consistency.

#[cfg(not(feature = "shuttle"))]
pub(crate) use real::*;

#[cfg(feature = "shuttle")]
pub(crate) use checked::*;

#[cfg(not(feature = "shuttle"))]
mod real {
    pub(crate) use std::sync::{atomic, mpsc};
    pub(crate) use std::thread;

    pub(crate) use arc_swap::{ArcSwap, ArcSwapOption};
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
}

#[cfg(feature = "shuttle")]
mod checked {
    use std::ops::{Deref, DerefMut};
    use std::sync::{Arc, PoisonError};
    use std::time::Duration;

    pub(crate) use shuttle::sync::{atomic, mpsc};

    pub(crate) mod thread {
        pub(crate) use shuttle::thread::*;

        /// Lets all others go first: its time may be over before anybody wakes it.
        pub(crate) fn park_timeout(_time: std::time::Duration) {
            yield_now();
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    /// None while a [`Condvar`] waits with it.
    pub(crate) struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("nobody waits with it")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("nobody waits with it")
        }
    }

    #[derive(Default)]
    pub(crate) struct Condvar(shuttle::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.0.take().expect("nobody waits with it");
            guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }

        /// Never times out: who is not woken waits for ever, which the checker reports.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _timeout: Duration) {
            self.wait(guard);
        }

        /// Never times out.
        pub(crate) fn wait_while_for<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            mut waits: impl FnMut(&mut T) -> bool,
            _timeout: Duration,
        ) {
            while waits(guard) {
                self.wait(guard);
            }
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// What was loaded, behind a pointer as arc-swap's guard is.
    pub(crate) struct Loaded<T>(T);

    impl<T> Deref for Loaded<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    /// A pointer that is read and stored at once, as arc-swap's is.
    #[derive(Default)]
    pub(crate) struct ArcSwap<T>(Mutex<Arc<T>>);

    impl<T> ArcSwap<T> {
        pub(crate) fn from_pointee(value: T) -> Self {
            Self(Mutex::new(Arc::new(value)))
        }

        pub(crate) fn load(&self) -> Loaded<Arc<T>> {
            Loaded(self.load_full())
        }

        pub(crate) fn load_full(&self) -> Arc<T> {
            Arc::clone(&self.0.lock())
        }

        pub(crate) fn store(&self, value: Arc<T>) {
            let old = std::mem::replace(&mut *self.0.lock(), value);
            drop(old);
        }
    }

    /// The same, or none.
    #[derive(Default)]
    pub(crate) struct ArcSwapOption<T>(Mutex<Option<Arc<T>>>);

    impl<T> ArcSwapOption<T> {
        pub(crate) fn empty() -> Self {
            Self(Mutex::new(None))
        }

        pub(crate) fn load(&self) -> Loaded<Option<Arc<T>>> {
            Loaded(self.load_full())
        }

        pub(crate) fn load_full(&self) -> Option<Arc<T>> {
            self.0.lock().clone()
        }

        pub(crate) fn store(&self, value: Option<Arc<T>>) {
            let old = std::mem::replace(&mut *self.0.lock(), value);
            drop(old);
        }
    }
}
