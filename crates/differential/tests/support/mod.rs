//! Running one module on both sides, and what is compared.

pub mod host;
pub mod ours;
pub mod peer;

use std::fmt;

/// One frame: function index, and byte offset in the module if there is one.
pub type Frame = (u32, Option<u32>);

/// A value that was returned, bit for bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
    /// A reference: only whether it is null can be compared.
    Ref {
        null: bool,
    },
}

/// Why a call did not return.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A trap of WebAssembly, in the words of its message.
    Trap(String),
    /// An error of a host function.
    Host(host::Failed),
    /// A panic of a host function.
    Panic(String),
}

/// What a call or an instantiation came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Values(Vec<Value>),
    Left {
        reason: Reason,
        frames: Vec<Frame>,
    },
    /// The module could not be linked.
    NotLinked,
}

/// What one side made of a module: the instantiation, then each exported
/// function in order, as long as the instance is there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed(pub Vec<(String, Outcome)>);

/// How the modules are compiled and run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    HardwareTraps,
    ExplicitChecks,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::HardwareTraps, Self::ExplicitChecks];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HardwareTraps => "hardware traps",
            Self::ExplicitChecks => "explicit checks",
        })
    }
}

/// A stack overflow is at a depth that depends on the host's own frames before
/// the first guest frame: only the innermost frames are compared.
const FRAMES_OF_AN_OVERFLOW: usize = 16;

impl Observed {
    /// The same, with what may rightly differ taken out.
    #[must_use]
    pub fn comparable(mut self) -> Self {
        for (_, outcome) in &mut self.0 {
            if let Outcome::Left {
                reason: Reason::Trap(message),
                frames,
            } = outcome
                && message.contains("call stack exhausted")
            {
                frames.truncate(FRAMES_OF_AN_OVERFLOW);
                // Which function hits the limit first depends on the depth too.
                if let Some(innermost) = frames.first_mut() {
                    innermost.1 = None;
                }
            }
        }
        self
    }
}

/// Runs `wasm` on both sides and gives what each of them saw.
pub fn run_on_both(wasm: &[u8], mode: Mode) -> (Observed, Observed) {
    let options = ours::options(mode);
    let artifact = trapline_wasmtime::compile::compile(wasm, &options)
        .unwrap_or_else(|error| panic!("both sides use the same compiler: {error:?}"));
    let ours = ours::run(&artifact);
    let peer = peer::run(&artifact, &options);
    (ours, peer)
}

/// The stack that guests may use, in bytes, on both sides.
pub const MAX_WASM_STACK: usize = 256 * 1024;

/// What every exported function gets for each of its parameters.
pub const ARGUMENT: u32 = 0x1_0005;

/// The message of a panic.
pub fn panic_text(payload: &(dyn core::any::Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        })
        .unwrap_or_else(|| String::from("(another payload)"))
}
