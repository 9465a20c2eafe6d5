//! The flags of the code generator: which there are, and what they can be.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use cranelift_codegen::isa::lookup_by_name;
use cranelift_codegen::settings::{Setting, SettingKind};

use super::error::CompileError;

/// Checks that a target has these flags, and that they can have these values.
/// A target that the compiler does not know is somebody else's to refuse.
pub(super) fn check(target: &str, flags: &[(String, String)]) -> Result<(), CompileError> {
    let Ok(isa) = lookup_by_name(target) else {
        return Ok(());
    };
    let known: Vec<Setting> = isa.iter().collect();
    for (name, value) in flags {
        let Some(setting) = known.iter().find(|setting| setting.name == name) else {
            let names: Vec<_> = known.iter().map(|setting| setting.name).collect();
            return Err(CompileError::options(format!(
                "unknown flag {name:?} of the code generator for {target}: there are {}",
                names.join(", ")
            )));
        };
        let values = match setting.kind {
            SettingKind::Bool if matches!(value.as_str(), "true" | "false") => continue,
            SettingKind::Bool => "true or false".into(),
            SettingKind::Preset if value == "true" => continue,
            SettingKind::Preset => "true, since it is a set of other flags".into(),
            SettingKind::Num if value.parse::<u8>().is_ok() => continue,
            SettingKind::Num => "a number from 0 to 255".into(),
            SettingKind::Enum => {
                let values = setting.values.unwrap_or_default();
                if values.contains(&value.as_str()) {
                    continue;
                }
                format!("one of {}", values.join(", "))
            }
        };
        return Err(CompileError::options(format!(
            "the flag {name:?} of the code generator for {target} can be {values}, not {value:?}"
        )));
    }
    Ok(())
}
