//! Why there is no artifact.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use core::error::Error;
use core::fmt;

use crate::COMPILER_RELEASE;

/// Why there is no artifact.
///
/// Who prints it prints its [sources](Error::source) as well: they say what is
/// wrong.
#[derive(Debug)]
pub struct CompileError {
    context: String,
    source: Box<dyn Error + Send + Sync>,
}

impl CompileError {
    pub(super) fn options(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            context: "the options do not fit together".to_string(),
            source: error.into(),
        }
    }

    pub(super) fn module(error: wasmtime::Error) -> Self {
        Self {
            context: "the module cannot be compiled".to_string(),
            source: error.into(),
        }
    }

    /// The compiler panicked, because of the function that is named if that
    /// could be found out.
    pub(super) fn panic(message: &str, function: Option<&str>, remedy: Option<&str>) -> Self {
        let place = match function {
            Some(function) => format!("at {function}"),
            None => "at none of the module's functions alone".to_string(),
        };
        let advice = match remedy {
            Some(remedy) => remedy.to_string(),
            None => format!(
                "this is a mistake of the compiler, Wasmtime {COMPILER_RELEASE}: please report it, \
                 with the module and the options"
            ),
        };
        Self {
            context: format!("the compiler panicked {place}"),
            source: format!("{message}; {advice}").into(),
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl Error for CompileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
