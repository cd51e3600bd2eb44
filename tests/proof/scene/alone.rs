//! `critical-section` on one thread without interrupts: no other code can run in between.

use critical_section::RawRestoreState;

struct Alone;
critical_section::set_impl!(Alone);

// SAFETY: the program has one thread, and nothing interrupts it.
unsafe impl critical_section::Impl for Alone {
    unsafe fn acquire() -> RawRestoreState {}

    unsafe fn release(_: RawRestoreState) {}
}
