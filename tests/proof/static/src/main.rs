//! The scene as a static program without the standard library and without a C library. It is linked
//! of `core`, `alloc` and this.
//!
//! It has a panic handler. `std` has one too, so a dependency that brings `std` along does not build.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::sync::Arc;
use core::arch::{asm, global_asm};
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use core::ptr::addr_of_mut;

use embedded_alloc::LlffHeap;

use hand::Hand;

#[path = "../../scene/alone.rs"]
mod alone;
#[path = "../../scene/hand.rs"]
mod hand;
mod memory;
#[path = "../../scene/scene.rs"]
mod scene;

const HEAP: usize = 1024 * 1024;

#[global_allocator]
static ALLOCATOR: LlffHeap = LlffHeap::empty();

// The kernel starts a program with its stack aligned to 16 bytes, and without a return address on it.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {main}", main = sym main);

extern "C" fn main() -> ! {
    static mut MEMORY: [MaybeUninit<u8>; HEAP] = [MaybeUninit::uninit(); HEAP];
    // SAFETY: no other code uses the memory, and this is called once, before the first allocation.
    unsafe { ALLOCATOR.init(addr_of_mut!(MEMORY) as usize, HEAP) }

    let runtime = Hand::default();
    let log = Arc::new(|who, what| write(STDOUT, &format!("{who}: {what}\n")));
    match runtime.run(scene::play(runtime.clone(), log)) {
        Some(Ok(())) => exit(0),
        other => panic!("the scene did not end: {other:?}"),
    }
}

#[panic_handler]
fn panic(panic: &PanicInfo<'_>) -> ! {
    write(STDERR, &format!("{panic}\n"));
    exit(101)
}

const STDOUT: usize = 1;
const STDERR: usize = 2;

fn write(to: usize, text: &str) {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        // SAFETY: the kernel reads `left`, which is alive, and writes nothing.
        let written = unsafe { system_call(1, to, left.as_ptr() as usize, left.len()) };
        match usize::try_from(written) {
            Ok(written) => left = &left[written..],
            Err(_) => exit(102),
        }
    }
}

fn exit(code: usize) -> ! {
    loop {
        // SAFETY: the kernel takes no pointer here, and does not return.
        unsafe { system_call(231, code, 0, 0) };
    }
}

/// Linux's, on x86_64.
///
/// # Safety
/// What the call does to this program's memory must be sound.
unsafe fn system_call(number: usize, first: usize, second: usize, third: usize) -> isize {
    let answer;
    // SAFETY: the kernel keeps all registers but those that are named here; the rest is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    answer
}
