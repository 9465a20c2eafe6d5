//! Platforms of an embedder's own: one that keeps accounts, and refuses when told
//! to; and one without memory protection.

mod common;

use common::Mode;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use trapline_code_registry::TrapKind;
use trapline_embed::platform::{Hosted, Platform, PlatformError};
use trapline_embed::{
    Engine, EngineConfig, InstantiateError, Linker, LoadError, MemorySettings, Module, Store,
    UsageError, Val,
};

/// The hosted platform with accounts: what is reserved, and how many calls may
/// still succeed.
#[derive(Debug)]
struct Accountant {
    reserved: Mutex<BTreeMap<usize, usize>>,
    calls_left: AtomicUsize,
    guards: bool,
}

impl Accountant {
    fn new(guards: bool) -> Arc<Self> {
        let calls_left = AtomicUsize::new(usize::MAX);
        Arc::new(Self {
            reserved: Mutex::default(),
            calls_left,
            guards,
        })
    }

    fn engine(self: &Arc<Self>) -> Engine {
        Engine::with_config(EngineConfig {
            platform: Arc::clone(self) as Arc<dyn Platform>,
            host_memory: MemorySettings::COMPACT,
            trap_by_hlt: true,
        })
    }

    fn reserved(&self) -> usize {
        self.reserved.lock().unwrap().values().sum()
    }

    fn allow(&self, calls: usize) {
        self.calls_left.store(calls, Ordering::Relaxed);
    }

    fn count(&self) -> Result<(), PlatformError> {
        let left = self.calls_left.load(Ordering::Relaxed);
        let left = left
            .checked_sub(1)
            .ok_or_else(|| PlatformError::new("anything", "refused"))?;
        self.allow(left);
        Ok(())
    }
}

// SAFETY: all by `Hosted`; without guards nobody relies on them.
unsafe impl Platform for Accountant {
    fn page_size(&self) -> usize {
        Hosted.page_size()
    }

    fn has_guards(&self) -> bool {
        self.guards
    }

    fn reserve(&self, bytes: usize) -> Result<NonNull<u8>, PlatformError> {
        assert!(bytes > 0 && bytes.is_multiple_of(self.page_size()));
        self.count()?;
        let start = Hosted.reserve(bytes)?;
        self.reserved
            .lock()
            .unwrap()
            .insert(start.addr().get(), bytes);
        Ok(start)
    }

    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PlatformError> {
        self.count()?;
        // SAFETY: the caller's duties.
        unsafe { Hosted.commit(start, bytes) }
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) {
        assert_eq!(
            self.reserved.lock().unwrap().remove(&start.addr().get()),
            Some(bytes)
        );
        // SAFETY: the caller's duties.
        unsafe { Hosted.release(start, bytes) }
    }

    unsafe fn publish_code(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PlatformError> {
        self.count()?;
        // SAFETY: the caller's duties.
        unsafe { Hosted.publish_code(start, bytes) }
    }

    fn prepare_thread(&self) -> Result<(), PlatformError> {
        assert!(self.guards, "nobody asks where there are none");
        self.count()?;
        Hosted.prepare_thread()
    }

    fn now(&self) -> Duration {
        Hosted.now()
    }
}

const WAT: &str = r#"(module
    (memory (export "m") 1)
    (memory 0)
    (memory 1 4 shared)
    (func (export "grow") (result i32) (memory.grow 0 (i32.const 1)))
    (func (export "wait") (result i32)
        (memory.atomic.wait32 2 (i32.const 0) (i32.const 0) (i64.const 1000000)))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0))))"#;

#[test]
fn a_platform_without_guards_runs_code_with_explicit_checks_and_nothing_else() {
    let platform = Accountant::new(false);
    let engine = platform.engine();
    for mode in [Mode::Hardware, Mode::HardwareMoving, Mode::Explicit] {
        // SAFETY: the compiler's own output, unchanged.
        let outcome = unsafe { Module::load(&engine, &mode.compile(WAT)) };
        assert!(matches!(outcome, Err(LoadError::NeedsGuards)), "{mode:?}");
    }
    // SAFETY: the compiler's own output, unchanged.
    let module = unsafe { Module::load(&engine, &Mode::ExplicitMoving.compile(WAT)) }.unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine)
        .instantiate(&mut store, &module)
        .unwrap();
    let load = instance
        .get_typed_func::<i32, i32, _>(&mut store, "load")
        .unwrap();
    assert_eq!(load.call(&mut store, 0).unwrap(), 0);
    let error = load.call(&mut store, -1).unwrap_err();
    assert_eq!(error.kind(), Some(TrapKind::MemoryOutOfBounds));
    // The default way to wait spins.
    let wait = instance.get_func(&mut store, "wait").unwrap();
    assert_eq!(wait.call(&mut store, &[]).unwrap(), [Val::I32(2)]);
}

#[test]
fn everything_reserved_is_given_back() {
    for mode in [Mode::Hardware, Mode::HardwareMoving, Mode::ExplicitMoving] {
        let platform = Accountant::new(true);
        let engine = platform.engine();
        // SAFETY: the compiler's own output, unchanged.
        let module = unsafe { Module::load(&engine, &mode.compile(WAT)) }.unwrap();
        let code = platform.reserved();
        assert!(code > 0);
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine)
            .instantiate(&mut store, &module)
            .unwrap();
        let grow = instance.get_func(&mut store, "grow").unwrap();
        for pages in 1..20 {
            assert_eq!(grow.call(&mut store, &[]).unwrap(), [Val::I32(pages)]);
        }
        assert!(platform.reserved() >= code + (20 << 16));
        drop(store);
        assert_eq!(platform.reserved(), code, "{mode:?}");
        drop(module);
        assert_eq!(platform.reserved(), 0, "{mode:?}");
    }
}

#[test]
fn a_platform_that_refuses_makes_an_error_and_nothing_is_lost() {
    for mode in [Mode::Hardware, Mode::HardwareMoving, Mode::ExplicitMoving] {
        let platform = Accountant::new(true);
        let engine = platform.engine();
        let artifact = mode.compile(WAT);
        let mut allowed = 0;
        let module = loop {
            platform.allow(allowed);
            // SAFETY: the compiler's own output, unchanged.
            match unsafe { Module::load(&engine, &artifact) } {
                Ok(module) => break module,
                Err(LoadError::Platform(_)) => assert_eq!(platform.reserved(), 0),
                Err(error) => panic!("{error}"),
            }
            allowed += 1;
        };
        assert_eq!(allowed, 3, "reserve, commit, publish");
        let code = platform.reserved();
        allowed = 0;
        let mut store = loop {
            let mut store = Store::new(&engine, ());
            platform.allow(allowed);
            match Linker::new(&engine).instantiate(&mut store, &module) {
                Ok(_) => break store,
                Err(InstantiateError::Resources(_)) => assert_eq!(platform.reserved(), code),
                Err(error) => panic!("{error}"),
            }
            allowed += 1;
        };
        assert!(allowed > 3, "{allowed}");
        // A memory that cannot grow says so, and stays as it is.
        platform.allow(usize::MAX);
        let instance = Linker::new(&engine)
            .instantiate(&mut store, &module)
            .unwrap();
        let grow = instance.get_func(&mut store, "grow").unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        memory.write(&mut store, 77, &[1]).unwrap();
        platform.allow(usize::from(mode.uses_hardware_traps()));
        assert_eq!(grow.call(&mut store, &[]).unwrap(), [Val::I32(-1)]);
        assert_eq!((memory.size(&store), memory.data(&store)[77]), (1, 1));
        platform.allow(usize::MAX);
        assert_eq!(grow.call(&mut store, &[]).unwrap(), [Val::I32(1)]);
        if mode.uses_hardware_traps() {
            // This thread is prepared, the next one can't be.
            platform.allow(0);
            assert_eq!(grow.call(&mut store, &[]).unwrap(), [Val::I32(-1)]);
            let on_another_thread = || grow.call(&mut store, &[]).unwrap_err();
            let error = thread::scope(|scope| scope.spawn(on_another_thread).join().unwrap());
            let message = "the guest relies on hardware traps, which cannot be caught here";
            assert_eq!(error.to_string(), message);
            assert!(matches!(error.usage(), Some(UsageError::HardwareTraps(_))));
            platform.allow(usize::MAX);
            assert_eq!(grow.call(&mut store, &[]).unwrap(), [Val::I32(2)]);
        }
    }
}
