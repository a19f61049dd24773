//! tmp
fn main() {
    println!("cargo:rustc-env=FLOWGUARD_BPF_OBJECT=/work/main/target/bpf/flowguard-ebpf.o");
}
