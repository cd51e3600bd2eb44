//! The scene on a Cortex-M4: no operating system, no standard library, a heap of 64 KiB, 32-bit
//! atomics. It writes its log over semihosting.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::sync::Arc;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use core::ptr::addr_of_mut;

// Its critical sections are those of a single core: interrupts are off.
use cortex_m as _;
use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};
use cortex_m_semihosting::{heprintln, hprintln};
use embedded_alloc::LlffHeap;
use hand::Hand;

#[path = "../../scene/hand.rs"]
mod hand;
#[path = "../../scene/scene.rs"]
mod scene;

const HEAP: usize = 64 * 1024;

#[global_allocator]
static ALLOCATOR: LlffHeap = LlffHeap::empty();

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: [MaybeUninit<u8>; HEAP] = [MaybeUninit::uninit(); HEAP];
    // SAFETY: no other code uses the memory, and this is called once, before the first allocation.
    unsafe { ALLOCATOR.init(addr_of_mut!(*MEMORY) as usize, HEAP) }

    let runtime = Hand::default();
    let played = runtime
        .run(scene::play(runtime.clone(), Arc::new(|who, what| hprintln!("{}: {}", who, what))));
    if !matches!(played, Some(Ok(()))) {
        panic!("the scene did not end: {played:?}");
    }
    exit(EXIT_SUCCESS);
    unreachable!("the machine is off")
}

#[panic_handler]
fn panic(panic: &PanicInfo<'_>) -> ! {
    heprintln!("{}", panic);
    exit(EXIT_FAILURE);
    cortex_m::asm::udf()
}
