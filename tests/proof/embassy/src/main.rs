//! The scene on embassy's executor, on a Cortex-M4.

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
use embassy_executor::Executor;
use embedded_alloc::LlffHeap;

use embassy::Embassy;

mod embassy;
#[path = "../../scene/scene.rs"]
mod scene;

const HEAP: usize = 64 * 1024;

#[global_allocator]
static ALLOCATOR: LlffHeap = LlffHeap::empty();

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: [MaybeUninit<u8>; HEAP] = [MaybeUninit::uninit(); HEAP];
    static mut EXECUTOR: Option<Executor> = None;
    // SAFETY: no other code uses the memory, and this is called once, before the first allocation.
    unsafe { ALLOCATOR.init(addr_of_mut!(*MEMORY) as usize, HEAP) }

    EXECUTOR.insert(Executor::new()).run(|spawner| match play(Embassy(spawner.make_send())) {
        Ok(play) => spawner.spawn(play),
        Err(error) => panic!("{error:?}"),
    })
}

#[embassy_executor::task]
async fn play(runtime: Embassy) {
    let played = scene::play(runtime, Arc::new(|who, what| hprintln!("{}: {}", who, what))).await;
    exit(if played.is_ok() { EXIT_SUCCESS } else { EXIT_FAILURE });
}

#[panic_handler]
fn panic(panic: &PanicInfo<'_>) -> ! {
    heprintln!("{}", panic);
    exit(EXIT_FAILURE);
    cortex_m::asm::udf()
}
