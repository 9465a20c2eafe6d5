//! What guests can import here: a module `host` for trying out traps.
//!
//! There is no WASI and no access to anything outside; an import that is not
//! listed here is an error that names it.
//!
//! | import | type | does |
//! | --- | --- | --- |
//! | `print_i32`, `print_i64`, `print_f32`, `print_f64` | `(param T)` | prints the value, one a line, to standard output |
//! | `fail` | `(param i32)` | fails with [`Refused`], which keeps the number |
//! | `fail_now` | `()` | fails with [`Refused`], number 0 |
//! | `panic` | `(param i32)` | panics with [`Panicked`], which keeps the number |
//! | `call_back` | `(param funcref)` | calls the function, of type `()`, and passes its failure on; fails if that is null or of another type |
//! | `try_call` | `(param funcref) (result i32)` | calls the function, of type `()`; 0 if it returned, 1 if it failed; fails itself if that is null or of another type |
//! | `print_backtrace` | `()` | prints the guest's backtrace, without a trap, to standard output |

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString as _;
use core::fmt;

use trapline_activation::panic::resume;
use trapline_embed::{Caller, Error, Func, FuncType, Linker, StoreContext, TypedFunc, ValType};

use crate::console::Console;
use crate::report::Backtrace;
use crate::values::Shown;

/// The name of the module that these functions are imported from.
pub const MODULE: &str = "host";

/// The error of `host.fail`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The number that the guest gave.
    pub code: i32,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host refused request {}", self.code)
    }
}

impl core::error::Error for Refused {}

/// The payload of the panic of `host.panic`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Panicked {
    /// The number that the guest gave.
    pub code: i32,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a host function panicked at request {}", self.code)
    }
}

/// Defines every function of the module `host`. What guests print goes to the
/// store's data.
///
/// # Errors
///
/// None, as the functions' types name no types of an engine.
pub fn define<T: Console>(linker: &mut Linker<T>) -> Result<(), Error> {
    for (name, ty) in [
        ("print_i32", ValType::I32),
        ("print_i64", ValType::I64),
        ("print_f32", ValType::F32),
        ("print_f64", ValType::F64),
    ] {
        linker.func_new(
            MODULE,
            name,
            FuncType::new([ty], []),
            |mut caller, values, _| {
                caller
                    .data_mut()
                    .stdout(&format!("{}\n", Shown(&values[0])))
            },
        )?;
    }
    linker.func_wrap(MODULE, "fail", |code: i32| {
        Err::<(), _>(anyhow::Error::new(Refused { code }))
    });
    linker.func_wrap(MODULE, "fail_now", || {
        Err::<(), _>(anyhow::Error::new(Refused { code: 0 }))
    });
    linker.func_wrap(MODULE, "panic", panic_with);
    linker.func_wrap(
        MODULE,
        "call_back",
        |mut caller: Caller<'_, T>, callee: Option<Func>| -> anyhow::Result<()> {
            Ok(callback(&caller, callee)?.call(&mut caller, ())?)
        },
    );
    linker.func_wrap(
        MODULE,
        "try_call",
        |mut caller: Caller<'_, T>, callee: Option<Func>| -> anyhow::Result<i32> {
            let callee = callback(&caller, callee)?;
            Ok(i32::from(callee.call(&mut caller, ()).is_err()))
        },
    );
    linker.func_wrap(
        MODULE,
        "print_backtrace",
        |mut caller: Caller<'_, T>| -> anyhow::Result<()> {
            let backtrace = caller.resolve(&caller.capture_backtrace());
            caller.data_mut().stdout(&Backtrace(&backtrace).to_string())
        },
    );
    Ok(())
}

/// Panics, but without the panic hook: the place in this file, which it would
/// print, is not what a guest's author wants to see.
fn panic_with(code: i32) {
    resume(Box::new(Panicked { code }));
}

/// The function to call back, if there is one and it is of type `()`.
fn callback<T: Console>(
    store: &StoreContext<T>,
    callee: Option<Func>,
) -> anyhow::Result<TypedFunc<(), ()>> {
    let callee = callee.ok_or_else(|| anyhow::anyhow!("the function to call back is null"))?;
    Ok(callee.typed(store)?)
}
