//! Parts of pages that commands write.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

const END: &str = "<!-- end -->\n";

/// Puts `text` where the page at `file`, a path from the workspace `root`, has a place for
/// what `command` writes.
pub(crate) fn update(root: &Path, file: &str, command: &str, text: &str) -> Result<()> {
    let path = root.join(file);
    let page = fs::read_to_string(&path).with_context(|| file.to_owned())?;
    let page = replace(&page, command, text).with_context(|| file.to_owned())?;
    Ok(fs::write(path, page)?)
}

/// The page with another text there.
pub(crate) fn replace(page: &str, command: &str, text: &str) -> Result<String> {
    let begin = format!("<!-- by {command} -->\n");
    let (before, rest) = page
        .split_once(&begin)
        .with_context(|| format!("there is no place for what `{command}` writes"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("what `{command}` writes has no end"))?;
    Ok(format!("{before}{begin}\n{text}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_page_stays() {
        let page = "# A\n\n<!-- by x --update -->\n\nold\n\n<!-- end -->\n\nmore\n";
        let new = replace(page, "x --update", "new\n").expect("there is a place");
        assert_eq!(new, page.replace("old", "new"));
        assert!(replace(page, "y --update", "new\n").is_err());
        let endless = page.replace("<!-- end -->", "");
        assert!(replace(&endless, "x --update", "new\n").is_err());
    }
}
