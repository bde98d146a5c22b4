//! The migrations are part of the binary: one that is added must lead to another binary.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
