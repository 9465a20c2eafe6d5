//! Guests compiled for x86_64 CPUs that cannot round: they call the embedder.

#![cfg(target_arch = "x86_64")]

use trapline_embed::{Engine, Linker, Module, Store, Val};
use trapline_wasmtime::compile::{CompileOptions, compile};
use trapline_wasmtime::vm::Builtin;

const FUNCTIONS: [&str; 4] = ["ceil", "floor", "trunc", "nearest"];

#[test]
fn numbers_are_rounded_by_the_embedder_as_the_cpu_would() {
    let functions: String = FUNCTIONS
        .iter()
        .flat_map(|name| ["f32", "f64"].map(|ty| (name, ty)))
        .map(|(name, ty)| {
            format!(
                r#"(func (export "{ty}.{name}") (param {ty}) (result {ty}) ({ty}.{name} (local.get 0)))"#
            )
        })
        .collect();
    let wat = format!("(module {functions})");
    let mut options = CompileOptions::host();
    options.target = Some(String::from("x86_64-unknown-linux-gnu"));
    let artifact = compile(wat.as_bytes(), &options).unwrap();
    let engine = Engine::new();
    // SAFETY: the compiler's own output, unchanged.
    let module = unsafe { Module::load(&engine, &artifact) }.unwrap();
    let called: Vec<Builtin> = module.artifact().builtins().collect();
    assert!(called.contains(&Builtin::CeilF32) && called.contains(&Builtin::NearestF64));

    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine)
        .instantiate(&mut store, &module)
        .unwrap();
    let samples = [
        0.0,
        0.3,
        0.5,
        1.5,
        2.5,
        4e9,
        1e18,
        8_388_607.5,
        f64::INFINITY,
        5e-324,
    ];
    for x in samples.into_iter().flat_map(|x| [x, -x]) {
        let expected = [x.ceil(), x.floor(), x.trunc(), x.round_ties_even()];
        let y = x as f32;
        let expected32 = [y.ceil(), y.floor(), y.trunc(), y.round_ties_even()];
        for (name, (expected, expected32)) in FUNCTIONS
            .into_iter()
            .zip(expected.into_iter().zip(expected32))
        {
            let double = instance
                .get_func(&mut store, &format!("f64.{name}"))
                .unwrap();
            assert_eq!(
                double.call(&mut store, &[x.into()]).unwrap(),
                [expected.into()],
                "{name} {x}"
            );
            let single = instance
                .get_func(&mut store, &format!("f32.{name}"))
                .unwrap();
            let results = single.call(&mut store, &[y.into()]).unwrap();
            assert_eq!(results, [expected32.into()], "{name} {y}");
        }
    }
    // A signalling NaN comes out quiet.
    let ceil = instance.get_func(&mut store, "f32.ceil").unwrap();
    let results = ceil.call(&mut store, &[Val::F32(0x7fa0_0000)]).unwrap();
    assert_eq!(results, [Val::F32(0x7fe0_0000)]);
}
