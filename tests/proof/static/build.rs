//! Links without what the standard library would start, load or bring.

fn main() {
    for argument in ["-nostartfiles", "-nostdlib", "-nodefaultlibs", "-static", "-no-pie"] {
        println!("cargo:rustc-link-arg={argument}");
    }
}
