//! The guest, as text: somebody else compiles it, so that no compiler is in this program.

use std::fmt::Write as _;

const PATHS: &str = include_str!("guest.wat");

/// Functions that only fill the side tables, as those of a module of some size are.
const FILLERS: u32 = 200;

/// The module.
pub(crate) fn text() -> String {
    let (mut text, end) = match PATHS.trim_end().strip_suffix(')') {
        Some(open) => (open.to_owned(), ")\n"),
        None => (PATHS.to_owned(), ""),
    };
    for nth in 0..FILLERS {
        // Loads and divisions may trap; each has an entry of the address map besides.
        _ = writeln!(
            text,
            "  (func $filler_{nth} (export \"filler_{nth}\") (param i32 i32) (result i32)"
        );
        _ = writeln!(text, "    (i32.load (i32.load (local.get 0)))");
        for load in 0..nth % 7 {
            let offset = 8 * load;
            _ = writeln!(
                text,
                "    (i32.div_u (i32.load offset={offset} (local.get 0)) (local.get 1)) (i32.xor)"
            );
        }
        text.push_str("  )\n");
    }
    text + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parentheses_are_balanced_and_fillers_are_inside_of_the_module() {
        let (mut depth, mut closed) = (0_i32, 0);
        for line in text().lines() {
            for character in line.split(";;").next().unwrap_or_default().chars() {
                depth += match character {
                    '(' => 1,
                    ')' => -1,
                    _ => continue,
                };
                closed += u32::from(depth == 0);
            }
        }
        assert_eq!((depth, closed), (0, 1));
        assert!(text().contains(&format!("$filler_{}", FILLERS - 1)));
    }
}
