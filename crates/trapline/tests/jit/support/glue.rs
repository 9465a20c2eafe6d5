//! The code between host and guest, as CLIF text: entry trampolines and exit
//! stubs. They write the words that [`JitContext`] has for them.

use std::mem::offset_of;

use cranelift_codegen::ir::{Signature, Type};

use super::store::{ARGUMENTS, JitContext};

/// A function of the host that guests call by name, through an exit stub.
pub(crate) struct HostFunction {
    /// The name that guests use.
    pub(crate) name: &'static str,
    /// An `extern "C"` function that takes the store context and `params`.
    pub(crate) address: *const u8,
    /// Types of the parameters after the context, in CLIF.
    pub(crate) params: &'static [&'static str],
    /// Type of the result, in CLIF; empty for none.
    pub(crate) result: &'static str,
    /// How generated code knows that the function failed.
    pub(crate) sentinel: Sentinel,
}

/// How generated code knows that a host function failed.
#[derive(Clone, Copy)]
pub(crate) enum Sentinel {
    /// It never does.
    None,
    /// It returns this value.
    Value(i64),
    /// It always does.
    Always,
}

/// Where the bytes of a value lie in the word of 64 bits that its bits are
/// the lowest of.
fn offset_in_word(ty: Type) -> u32 {
    match cfg!(target_endian = "big") {
        true => 8 - ty.bytes(),
        false => 0,
    }
}

/// A type in the signature of a function of the host. Some ABIs (s390x) have
/// the caller extend small integers.
fn host_type(ty: &str) -> String {
    match ty {
        "i8" | "i16" | "i32" => format!("{ty} uext"),
        _ => ty.to_owned(),
    }
}

/// The two entry trampolines of the guest function `name`: `name_enter` stores
/// its frame pointer and calls; `name_enter_pad` stores the address and stack
/// pointer of its landing pad, too.
///
/// Both take the context and an array of [`ARGUMENTS`] words, with the
/// arguments, and the result afterwards; both return 1, but for the landing pad,
/// which returns 0.
pub(crate) fn entry_trampolines(name: &str, signature: &Signature) -> String {
    let types: Vec<_> = signature.params[1..]
        .iter()
        .map(|param| param.value_type)
        .collect();
    assert!(types.len() <= ARGUMENTS);
    let mut loads = String::new();
    let mut arguments = "v0".to_owned();
    for (i, ty) in types.iter().enumerate() {
        let value = 100 + i;
        let offset = 8 * i as u32 + offset_in_word(*ty);
        loads.push_str(&format!(
            "    v{value} = load.{ty} notrap aligned v1+{offset}\n"
        ));
        arguments.push_str(&format!(", v{value}"));
    }
    // What it returns, how a call names that, how a try_call passes it on, how
    // its normal successor takes it, and how it is stored.
    let (call, passed, taken, store) = match signature.returns.as_slice() {
        [] => ("", "", String::new(), String::new()),
        [result] => (
            "v50 = ",
            "(ret0)",
            format!("(v50: {})", result.value_type),
            format!(
                "store notrap aligned v50, v1+{}",
                offset_in_word(result.value_type)
            ),
        ),
        _ => panic!("guests here have at most one result"),
    };
    let entry_fp = offset_of!(JitContext, entry_fp);
    let landing_sp = offset_of!(JitContext, landing_sp);
    let landing_pc = offset_of!(JitContext, landing_pc);
    format!(
        "
function %{name}_enter(i64, i64) -> i8 uext system_v {{
    fn0 = colocated %{name}{signature}
block0(v0: i64, v1: i64):
{loads}
    v2 = get_frame_pointer.i64
    store notrap aligned v2, v0+{entry_fp}
    {call}call fn0({arguments})
    {store}
    v3 = iconst.i8 1
    return v3
}}

function %{name}_enter_pad(i64, i64) -> i8 uext system_v {{
    sig0 = {signature}
    fn0 = colocated %{name} sig0
block0(v0: i64, v1: i64):
    jump block1
    ; The block that ends in the call: handlers are named by it.
block1:
{loads}
    v2 = get_frame_pointer.i64
    v3 = get_stack_pointer.i64
    v4 = get_exception_handler_address.i64 block1, 0
    store notrap aligned v2, v0+{entry_fp}
    store notrap aligned v3, v0+{landing_sp}
    store notrap aligned v4, v0+{landing_pc}
    try_call fn0({arguments}), sig0, block2{passed}, [ default: block3(exn0, exn1) ]
block2{taken}:
    {store}
    v5 = iconst.i8 1
    return v5
    ; The landing pad. Both words of payload are 0, and so is what it returns.
block3(v6: i64, v7: i64):
    v8 = bor v6, v7
    v9 = ireduce.i8 v8
    return v9
}}
"
    )
}

/// The exit stub of a host function: notes where the guest is left, calls the
/// function, and raises what it recorded if it says that it failed.
pub(crate) fn exit_stub(host: &HostFunction) -> String {
    let name = host.name;
    let mut params = "v0: i64".to_owned();
    let mut types = "i64".to_owned();
    let mut host_types = types.clone();
    let mut arguments = "v0".to_owned();
    for (i, ty) in host.params.iter().enumerate() {
        let value = 100 + i;
        params.push_str(&format!(", v{value}: {ty}"));
        types.push_str(&format!(", {ty}"));
        host_types.push_str(&format!(", {}", host_type(ty)));
        arguments.push_str(&format!(", v{value}"));
    }
    let (returns, host_returns, result, call) = match host.result {
        "" => (String::new(), String::new(), "", ""),
        ty => (
            format!(" -> {ty}"),
            format!(" -> {}", host_type(ty)),
            "v50",
            "v50 = ",
        ),
    };
    let test = match host.sentinel {
        Sentinel::None => "jump block1".to_owned(),
        Sentinel::Always => "jump block2".to_owned(),
        Sentinel::Value(value) => format!(
            "v51 = iconst.{} {value}
    v52 = icmp eq v50, v51
    brif v52, block2, block1",
            host.result
        ),
    };
    let exit_fp = offset_of!(JitContext, exit_fp);
    let exit_pc = offset_of!(JitContext, exit_pc);
    let older_fp = trapline::NEXT_OLDER_FP_FROM_FP_OFFSET;
    format!(
        "
function %{name}({types}){returns} tail {{
    fn0 = %{name}_host({host_types}){host_returns} system_v
    fn1 = %raise(i64) system_v
block0({params}):
    ; This stub's frame record has both: where the guest's frame is, and where
    ; the guest goes on.
    v2 = get_frame_pointer.i64
    v3 = load.i64 notrap aligned v2+{older_fp}
    v4 = get_return_address.i64
    store notrap aligned v3, v0+{exit_fp}
    store notrap aligned v4, v0+{exit_pc}
    {call}call fn0({arguments})
    {test}
block1:
    return {result}
block2:
    call fn1(v0)
    trap user9
}}
"
    )
}
