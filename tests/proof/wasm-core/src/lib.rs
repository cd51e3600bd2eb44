//! The scene as a WebAssembly module without the standard library, and without a single import.

#![no_std]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::cell::RefCell;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use core::ptr::addr_of_mut;

use critical_section::Mutex;
use embedded_alloc::LlffHeap;

use hand::Hand;

#[path = "../../scene/alone.rs"]
mod alone;
#[path = "../../scene/hand.rs"]
mod hand;
#[path = "../../scene/scene.rs"]
mod scene;

const HEAP: usize = 1024 * 1024;

#[global_allocator]
static ALLOCATOR: LlffHeap = LlffHeap::empty();

/// The log, until the host has read it.
static LOG: Mutex<RefCell<String>> = Mutex::new(RefCell::new(String::new()));

/// Plays the scene, once. Returns the length of its log.
#[unsafe(no_mangle)]
pub extern "C" fn play() -> usize {
    static mut MEMORY: [MaybeUninit<u8>; HEAP] = [MaybeUninit::uninit(); HEAP];
    // SAFETY: no other code uses the memory, and this is called once, before the first allocation.
    unsafe { ALLOCATOR.init(addr_of_mut!(MEMORY) as usize, HEAP) }

    let runtime = Hand::default();
    let played = runtime.run(scene::play(runtime.clone(), Arc::new(write)));
    if !matches!(played, Some(Ok(()))) {
        panic!("the scene did not end: {played:?}");
    }
    critical_section::with(|section| LOG.borrow_ref(section).len())
}

/// The address of the log. The name `log` is taken: the logarithm.
#[unsafe(no_mangle)]
pub extern "C" fn written() -> *const u8 {
    critical_section::with(|section| LOG.borrow_ref(section).as_ptr())
}

fn write(who: &'static str, what: String) {
    critical_section::with(|section| {
        LOG.borrow_ref_mut(section).push_str(&format!("{who}: {what}\n"))
    });
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
