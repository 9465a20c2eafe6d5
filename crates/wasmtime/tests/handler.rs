//! What trap handlers reach does not allocate.

mod common;

use std::sync::Arc;

use common::HARDWARE;
use trapline_arch::VirtualAddress;
use trapline_code_registry::CodeObject as _;
use trapline_test_support::allocator::{Counting, Uses, counted};
use trapline_wasmtime::{Artifact, ModuleCode};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn looking_up_a_trap_does_not_allocate() {
    let artifact = Arc::new(Artifact::parse(HARDWARE.clone()).unwrap());
    // SAFETY: never registered.
    let code = unsafe { ModuleCode::new(artifact.clone(), VirtualAddress::new(0x1000)) }.unwrap();
    let ((text, found), uses) = counted(|| {
        let is_trap = |offset: &usize| code.lookup_trap_code(*offset).is_some();
        let found = (0..artifact.text().len()).filter(is_trap).count();
        (code.text(), found)
    });
    assert!(text.start < text.end);
    assert_eq!((found, uses), (artifact.trap_count(), Uses::NONE));
}
