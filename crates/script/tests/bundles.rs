//! Bundles come out as they went in; what was truncated or damaged is an error
//! that says so, wherever it happened, and never a panic.

use proptest::prelude::*;
use trapline_script::{
    Action, Blob, Bundle, BundleError, BundleErrorKind, BundleWriter, Call, Expect, GuestOptions,
    Kind, NewGuest, NewScript, Pattern, Run, Step, Traps, Value, decode, encode,
};
use trapline_wasmtime::Isa;

/// Something for each variant of each type that is encoded.
fn actions() -> Vec<Action<'static>> {
    let call = Call {
        instance: Some("instance"),
        name: "f",
        arguments: Some(vec![
            Value::I32(-1),
            Value::I64(i64::MIN),
            Value::F32(0x7fc0_0000),
            Value::F64(1),
            Value::V128(u128::MAX),
            Value::NullFunc,
            Value::NullExtern,
            Value::Extern(7),
        ]),
    };
    let results = vec![
        Expect::I32(i32::MIN),
        Expect::I64(7),
        Expect::F32(Pattern::CanonicalNan),
        Expect::F64(Pattern::ArithmeticNan),
        Expect::V128(1 << 100),
        Expect::F32x4([Pattern::Value(3); 4]),
        Expect::F64x2([Pattern::CanonicalNan; 2]),
        Expect::Null,
        Expect::NullFunc,
        Expect::NullExtern,
        Expect::Func,
        Expect::Extern(Some(9)),
        Expect::Either(vec![Expect::Extern(None), Expect::Unsupported]),
    ];
    let thread = encode(&[Action {
        line: 4,
        kind: Kind::Invoke,
        step: Step::Invoke(call.clone()),
    }]);
    let steps = [
        Step::Skip,
        Step::Pass,
        Step::Fail("because".into()),
        Step::Module {
            name: None,
            module: 0,
        },
        Step::Definition {
            name: Some("d"),
            module: 1,
        },
        Step::Instance {
            name: Some("i"),
            definition: None,
        },
        Step::Register {
            name: "r",
            instance: Some("i"),
        },
        Step::Invoke(call.clone()),
        Step::AssertReturn {
            run: Run::Call(call),
            results,
        },
        Step::AssertTrap {
            run: Run::Global {
                instance: None,
                name: "g",
            },
            message: "unreachable",
        },
        Step::AssertTrap {
            run: Run::Module(300),
            message: "",
        },
        Step::AssertUnlinkable {
            module: 2,
            message: "unknown import",
        },
        Step::Thread {
            name: "t",
            shared: Some("i"),
            actions: thread.into(),
        },
        Step::Wait { thread: "t" },
    ];
    let lines = (1..).map(|line| line * 100);
    let kinds = Kind::ALL.iter().cycle();
    lines
        .zip(kinds)
        .zip(steps)
        .map(|((line, kind), step)| Action {
            line,
            kind: *kind,
            step,
        })
        .collect()
}

const ARTIFACT: &[u8] = &[7; 70_000];

fn bundle_for(isa: Isa) -> Vec<u8> {
    let mut bundle = BundleWriter::new(isa, Traps::Explicit);
    bundle.set_spectest(Blob::new(b"the module spectest"));
    bundle.add_guest(NewGuest {
        name: "guest".into(),
        artifact: Blob::new(ARTIFACT),
        options: GuestOptions {
            invoke: Some("f".into()),
            arguments: vec!["-7".into()],
            max_wasm_stack: Some(1 << 20),
            max_memory: Some(1 << 16),
            max_table_elements: Some(7),
            backtrace_limit: 3,
        },
        exit: 134,
        stdout: "1\n".into(),
        stderr: "error: äöü\n".into(),
    });
    let module = bundle.add_blob(Blob::new(b"a module"));
    bundle.add_script(NewScript {
        name: "suite/script.wast".into(),
        actions: Blob::new(&encode(&actions())),
        has_threads: true,
        modules: vec![Ok(module), Err("cannot parse".into())],
    });
    bundle.add_artifact("scenario", Blob::new(ARTIFACT));
    bundle.add_artifact("empty", Blob::new(&[]));
    bundle.finish()
}

fn bundle() -> Vec<u8> {
    bundle_for(Isa::HOST.expect("the compiler knows this machine"))
}

fn parse(bytes: Vec<u8>) -> Result<Bundle, BundleError> {
    // SAFETY: nothing of what these bundles hold is ever loaded.
    unsafe { Bundle::parse(bytes.leak()) }
}

/// Uses everything that is in a bundle.
fn use_all(bundle: &Bundle) -> Result<(), BundleError> {
    bundle.spectest()?;
    bundle.directives()?;
    for name in bundle.artifact_names() {
        bundle.artifact(name)?;
    }
    for guest in bundle.guests() {
        guest.artifact()?;
    }
    for script in bundle.scripts() {
        for action in decode(&script.actions()?) {
            if let Step::Thread { actions, .. } = action?.step {
                decode(&actions).try_for_each(|action| action.map(drop))?;
            }
        }
        for artifact in script.artifacts() {
            artifact?;
        }
    }
    Ok(())
}

#[test]
fn what_goes_in_comes_out() {
    let bundle = parse(bundle()).unwrap();
    assert_eq!(bundle.traps(), Traps::Explicit);
    assert_eq!(Some(bundle.isa()), Isa::HOST);
    assert_eq!(bundle.spectest().unwrap(), b"the module spectest");
    assert_eq!(bundle.artifact("scenario").unwrap(), ARTIFACT);
    assert_eq!(bundle.artifact("empty").unwrap(), b"");
    let names: Vec<_> = bundle.artifact_names().collect();
    assert_eq!(names, ["scenario", "empty"]);

    let guests: Vec<_> = bundle.guests().collect();
    let [guest] = &guests[..] else {
        panic!("one guest: {guests:?}")
    };
    assert_eq!(guest.name(), "guest");
    assert_eq!(guest.artifact().unwrap(), ARTIFACT);
    assert_eq!(guest.options().arguments, ["-7"]);
    assert_eq!(guest.options().backtrace_limit, 3);
    assert_eq!(
        (guest.exit(), guest.stdout(), guest.stderr()),
        (134, "1\n", "error: äöü\n")
    );

    let script = bundle.script(0).unwrap();
    assert_eq!(script.name(), "suite/script.wast");
    assert!(script.has_threads());
    let encoded = script.actions().unwrap();
    let decoded: Result<Vec<_>, _> = decode(&encoded).collect();
    assert_eq!(decoded.unwrap(), actions());
    assert!(bundle.script(1).is_none());
}

#[test]
fn all_directives_are_counted_also_those_of_threads() {
    let tally = parse(bundle()).unwrap().directives().unwrap();
    // One is left out, and one stands in a thread.
    assert_eq!((tally.skipped, tally.failed), (1, 0));
    assert_eq!(tally.passed, actions().len() - 1 + 1);
}

#[test]
fn what_is_equal_is_stored_once() {
    let mut once = BundleWriter::new(Isa::X86_64, Traps::Hardware);
    let noise: Vec<u8> = (0..4096_u32).map(|i| ((i * i) >> 3) as u8).collect();
    once.add_artifact("a", Blob::new(&noise));
    let mut twice = BundleWriter::new(Isa::X86_64, Traps::Hardware);
    twice.add_artifact("a", Blob::new(&noise));
    twice.add_artifact("b", Blob::new(&noise));
    assert!(twice.finish().len() < once.finish().len() + 16);
    assert_eq!(
        twice.add_blob(Blob::new(&noise)),
        once.add_blob(Blob::new(&noise))
    );
}

#[test]
fn what_is_not_there_is_named() {
    let bundle = parse(bundle()).unwrap();
    let error = bundle.artifact("nobody").unwrap_err();
    assert_eq!(error.kind(), BundleErrorKind::Missing);
    assert!(error.to_string().contains("`nobody`"), "{error}");
    let empty = BundleWriter::new(Isa::HOST.unwrap(), Traps::Hardware);
    let error = parse(empty.finish()).unwrap().spectest().unwrap_err();
    assert!(error.to_string().contains("`spectest`"), "{error}");
}

#[test]
fn other_files_versions_and_machines_are_told_apart() {
    let error = parse(b"\x7fELF and so on, and on, and on, and on".to_vec()).unwrap_err();
    assert_eq!(error.kind(), BundleErrorKind::NotABundle);
    assert!(error.to_string().contains("TRAPLINE"), "{error}");

    let mut other = bundle();
    other[8] += 1;
    let error = parse(other).unwrap_err();
    assert_eq!(error.kind(), BundleErrorKind::Version);
    assert!(
        error.to_string().contains("expected version 1, found 2"),
        "{error}"
    );

    for isa in [Isa::X86_64, Isa::Aarch64, Isa::Riscv64, Isa::S390x] {
        let bytes = bundle_for(isa);
        // SAFETY: as for `parse`.
        let any = unsafe { Bundle::parse_any_machine(bytes.clone().leak()) }.unwrap();
        assert_eq!(any.isa(), isa);
        match parse(bytes) {
            Ok(_) => assert_eq!(Some(isa), Isa::HOST),
            Err(error) => {
                assert_ne!(Some(isa), Isa::HOST);
                assert_eq!(error.kind(), BundleErrorKind::Machine);
                let found = format!("found {}", isa.name());
                assert!(error.to_string().ends_with(&found), "{error}");
            }
        }
    }
}

#[test]
fn every_truncation_is_told() {
    let whole = bundle();
    for length in 0..whole.len() {
        let error = parse(whole[..length].to_vec()).unwrap_err();
        assert_eq!(
            error.kind(),
            BundleErrorKind::Truncated,
            "{length}: {error}"
        );
    }
    let mut longer = whole;
    longer.push(0);
    let error = parse(longer).unwrap_err();
    assert_eq!(error.kind(), BundleErrorKind::Corrupt);
}

#[test]
fn every_damaged_byte_is_told() {
    let whole = bundle();
    for at in 0..whole.len() {
        for damage in [1, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= damage;
            let outcome = parse(damaged).and_then(|bundle| use_all(&bundle));
            let error = outcome.expect_err("a checksum covers each byte");
            let expected = match at {
                0..8 => BundleErrorKind::NotABundle,
                8..10 => BundleErrorKind::Version,
                _ => BundleErrorKind::Corrupt,
            };
            assert_eq!(error.kind(), expected, "byte {at}: {error}");
        }
    }
}

/// Puts right the checksums of the header and the contents, so that what comes
/// after them is looked at.
fn with_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let crc = crc32fast::hash(&bytes[32..32 + length]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    bytes
}

proptest! {
    /// The decoder itself holds, too: not only the checksums before it.
    #[test]
    fn contents_that_make_no_sense_are_told(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = bundle();
        let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        for (at, byte) in damage {
            bytes[32 + at.index(length)] = byte;
        }
        if let Ok(bundle) = parse(with_checksums(bytes)) {
            let _ = use_all(&bundle);
        }
    }

    #[test]
    fn damaged_actions_are_told(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&actions());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(length.index(bytes.len() + 1));
        // Ends, with at most one error, and after that nothing.
        let errors = decode(&bytes).filter(Result::is_err).count();
        prop_assert!(errors <= 1);
    }

    #[test]
    fn arbitrary_bytes_are_no_bundle(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(bytes).is_err());
    }
}
