//! What an embedder may write into the fields of types and pass to methods, at the far ends: an
//! error, or what was asked for, and a message for each of them. Never a panic.

mod common;

use common::Mode;
use std::fmt::{Debug, Display};
use std::time::Duration;
use trapline_arch::VirtualAddress;
use trapline_code_registry::TrapKind;
use trapline_embed::{
    Engine, EngineConfig, ExternRef, IndexType, Limits, Memory, MemoryError, MemorySettings,
    MemoryType, Module, RefType, SharedMemory, Store, Table, TableType, UsageError, Val,
    WaitOutcome,
};

/// The ends, what is next to them, and where other widths end.
const NUMBERS: [u64; 16] = [
    0,
    1,
    (1 << 16) - 1,
    1 << 16,
    (1 << 16) + 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 32) + 1,
    (1 << 48) - 1,
    1 << 48,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// More than a test should really have.
const TOO_MANY: u64 = 1 << 20;

fn limits() -> impl Iterator<Item = Limits> {
    NUMBERS.into_iter().flat_map(|min| {
        let max = NUMBERS.into_iter().map(Some).chain([None]);
        max.map(move |max| Limits { min, max })
    })
}

/// Everything that can be printed of it is.
fn print(what: &(impl Display + Debug)) -> String {
    format!("{what} {what:?}")
}

#[test]
fn memory_types_of_any_size_print_and_are_made_or_refused() {
    let engine = Engine::new();
    let mut store = Store::new(&engine, ());
    for page_size_log2 in [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255] {
        for limits in limits() {
            for index in [IndexType::I32, IndexType::I64] {
                for shared in [false, true] {
                    let ty = MemoryType {
                        index,
                        limits,
                        shared,
                        page_size_log2,
                    };
                    print(&ty);
                    assert_eq!(ty.page_size().is_some(), page_size_log2 < 64);
                    let pages = limits.min;
                    let is_possible = matches!(page_size_log2, 0 | 16)
                        && limits.max.is_none_or(|max| pages <= max);
                    if is_possible && pages <= TOO_MANY {
                        continue;
                    }
                    // Both kinds of memory, also for the type of the other.
                    let errors = [
                        Memory::new(&mut store, ty).err().map(|error| print(&error)),
                        SharedMemory::new(&engine, ty)
                            .err()
                            .map(|error| print(&error)),
                    ];
                    if !is_possible {
                        assert!(errors.iter().all(Option::is_some), "{ty}: {errors:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn table_types_of_any_size_print_and_are_made_or_refused() {
    let engine = Engine::new();
    let mut store = Store::new(&engine, ());
    for limits in limits() {
        for index in [IndexType::I32, IndexType::I64] {
            for element in [RefType::FUNCREF, RefType::EXTERNREF] {
                let ty = TableType {
                    index,
                    limits,
                    element,
                };
                print(&ty);
                let elements = limits.min;
                let most = match index {
                    IndexType::I32 => u64::from(u32::MAX),
                    IndexType::I64 => u64::MAX,
                };
                let is_possible = elements <= most && limits.max.is_none_or(|max| elements <= max);
                if is_possible && (TOO_MANY..1 << 60).contains(&elements) {
                    continue;
                }
                let null = Val::zero(element.into());
                match Table::new(&mut store, ty, null) {
                    Ok(table) => {
                        assert!(is_possible, "{ty}");
                        assert_eq!(table.size(&store), elements);
                        table.grow(&mut store, u64::MAX, null).unwrap_err();
                    }
                    Err(error) => drop(print(&error)),
                }
            }
        }
    }
}

#[test]
fn accesses_anywhere_are_errors_with_the_place() {
    let engine = Engine::new();
    let mut store = Store::new(&engine, ());
    let memory = Memory::new(&mut store, MemoryType::new(1, Some(1))).unwrap();
    let shared = SharedMemory::new(&engine, MemoryType::new(1, Some(1)).shared()).unwrap();
    let ty = TableType::new(RefType::EXTERNREF, 1, Some(1));
    let table = Table::new(&mut store, ty, Val::ExternRef(None)).unwrap();
    let mut buffer = [0; 2];
    for at in NUMBERS {
        let is_inside = at < (1 << 16) - 1;
        assert_eq!(memory.read(&store, at, &mut buffer).is_ok(), is_inside);
        assert_eq!(memory.write(&mut store, at, &buffer).is_ok(), is_inside);
        assert_eq!(shared.read(at, &mut buffer).is_ok(), is_inside);
        assert_eq!(shared.write(at, &buffer).is_ok(), is_inside);
        // Nothing is read beyond the end, but for a place there.
        assert_eq!(memory.read(&store, at, &mut []).is_ok(), at <= 1 << 16);
        assert_eq!(shared.read(at, &mut []).is_ok(), at <= 1 << 16);
        if let Err(error) = shared.read(at, &mut buffer) {
            assert!(print(&error).contains(&at.to_string()), "{error}");
        }
        assert_eq!(table.get(&store, at).is_some(), at == 0);
        let set = table.set(&mut store, at, Val::ExternRef(None));
        assert_eq!(set.is_ok(), at == 0);

        let word = shared.wait32(at, 1, Some(Duration::MAX));
        match at {
            0 => assert_eq!(word, Ok(WaitOutcome::NotEqual)),
            at if at % 4 == 0 => assert_eq!(word, Err(TrapKind::MemoryOutOfBounds)),
            _ => assert_eq!(word, Err(TrapKind::HeapMisaligned)),
        }
        assert_eq!(shared.notify(at, u32::MAX).is_ok(), at == 0);
        if at > 0 {
            memory.grow(&mut store, at).unwrap_err();
            shared.grow(at).unwrap_err();
            table
                .grow(&mut store, at, Val::ExternRef(None))
                .unwrap_err();
        }
    }
    // A time that no clock can tell is waited for until somebody wakes: a value that is not
    // there ends it at once.
    let outcome = shared.wait64(0, 1, Some(Duration::MAX));
    assert_eq!(outcome, Ok(WaitOutcome::NotEqual));
}

#[test]
fn settings_for_memories_of_any_size_are_kept_to_or_refused() {
    for number in NUMBERS {
        let compact = MemorySettings::COMPACT;
        let settings = [
            MemorySettings {
                reservation: number,
                ..compact
            },
            MemorySettings {
                guard: number,
                ..compact
            },
            MemorySettings {
                reservation_for_growth: number,
                ..compact
            },
            MemorySettings {
                reservation: number,
                guard: number,
                reservation_for_growth: number,
                may_move: false,
            },
        ];
        for host_memory in settings {
            let engine = Engine::with_config(EngineConfig {
                host_memory,
                ..EngineConfig::default()
            });
            let mut store = Store::new(&engine, ());
            for max in [Some(2), None] {
                match Memory::new(&mut store, MemoryType::new(1, max)) {
                    Ok(memory) => {
                        if let Err(error) = memory.grow(&mut store, 1) {
                            print(&error);
                        }
                        memory.grow(&mut store, u64::MAX).unwrap_err();
                    }
                    Err(error) => drop(print(&error)),
                }
            }
            if let Err(error) = SharedMemory::new(&engine, MemoryType::new(1, Some(2)).shared()) {
                print(&error);
            }
        }
    }
}

#[test]
fn limits_of_a_store_may_be_as_large_or_small_as_can_be_said() {
    const WAT: &str = r#"(module (func $f (export "f") (param i32)
        (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else unreachable))))"#;
    for (stack, kind) in [
        (0, TrapKind::StackOverflow),
        (1, TrapKind::StackOverflow),
        (1 << 16, TrapKind::UnreachableCodeReached),
        (usize::MAX, TrapKind::UnreachableCodeReached),
    ] {
        for frames in [0, 1, 4, usize::MAX] {
            let (mut store, instance) = Mode::Hardware.instance(WAT);
            store.set_max_wasm_stack(stack);
            store.set_backtrace_limit(frames);
            let f = instance
                .get_typed_func::<i32, (), _>(&mut store, "f")
                .unwrap();
            let error = f.call(&mut store, 3).unwrap_err();
            assert_eq!(error.kind(), Some(kind), "{stack}");
            let there = if kind == TrapKind::StackOverflow {
                1
            } else {
                4
            };
            assert_eq!(error.wasm_backtrace().frames().len(), frames.min(there));
            print(&error);
        }
    }
}

#[test]
fn errors_with_any_numbers_in_them_print() {
    for number in NUMBERS {
        let ty = MemoryType {
            limits: Limits {
                min: number,
                max: Some(number),
            },
            page_size_log2: (number % 256) as u8,
            ..MemoryType::new(0, None)
        };
        let count = number as usize;
        let errors = [
            UsageError::ValueCount {
                what: "arguments",
                expected: count,
                found: count,
            },
            UsageError::OutOfBounds {
                what: "memory",
                index: number,
                len: number,
                size: number,
            },
            UsageError::CannotGrow {
                what: "table",
                size: number,
                delta: number,
            },
            UsageError::TableSize { elements: number },
            UsageError::TableType {
                ty: TableType {
                    limits: ty.limits,
                    ..TableType::new(RefType::FUNCREF, 0, None)
                },
            },
            UsageError::Limit {
                what: "bytes of memory",
                limit: number,
                wanted: number,
            },
            UsageError::Memory(MemoryError::Limits { ty }),
            UsageError::Memory(MemoryError::SharedWithoutMaximum { ty }),
            UsageError::SharedMemoryType { ty },
            UsageError::Memory(MemoryError::TooLarge { ty }),
            UsageError::Memory(MemoryError::PageSize {
                log2: ty.page_size_log2,
            }),
        ];
        for error in errors {
            print(&error);
        }
    }
    assert_eq!(ExternRef::new(u32::MAX), None);
    assert_eq!(
        ExternRef::new(ExternRef::MAX).map(ExternRef::get),
        Some(ExternRef::MAX)
    );
}

#[test]
fn tables_of_an_artifact_are_asked_for_any_place() {
    // SAFETY: the compiler's own output, unchanged.
    let module = unsafe {
        Module::load(
            &Engine::new(),
            &Mode::Hardware.compile("(module (func (export \"f\") unreachable))"),
        )
    }
    .unwrap();
    let artifact = module.artifact();
    let end = artifact.text().len();
    for offset in NUMBERS.into_iter().map(|number| number as usize) {
        let inside = offset < end;
        assert!(inside || artifact.lookup_trap_code(offset).is_none());
        assert!(inside || artifact.function_at(offset).is_none());
        assert!(inside || artifact.func_index_at(offset).is_none());
        // Like the compiler's own reader, it goes by what is before.
        let _ = artifact.lookup_bytecode_offset(offset);
        assert_eq!(trapline_wasmtime::lookup_trap_code(&[], offset), None);
        assert_eq!(trapline_wasmtime::lookup_bytecode_offset(&[], offset), None);
        let _ = trapline_code_registry::lookup_code(VirtualAddress::new(offset));
    }
}
