//! `critical-section` where there is one thread and no interrupt: nobody is there to be kept out.

use critical_section::RawRestoreState;

struct Alone;
critical_section::set_impl!(Alone);

// SAFETY: the program has one thread, and nothing interrupts that, so all code is in a critical section of its own.
unsafe impl critical_section::Impl for Alone {
    unsafe fn acquire() -> RawRestoreState {}

    unsafe fn release(_: RawRestoreState) {}
}
