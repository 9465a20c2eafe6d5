//! Relative links in Markdown files lead to files that git knows.

/// The links of `text`, the content of `file`, that lead nowhere.
pub(super) fn dead_links(file: &str, text: &str, files: &[String]) -> Vec<String> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    targets(text)
        .filter(|target| !leads_outside(target))
        .filter(|target| !exists(&resolve(folder, target), files))
        .map(|target| format!("{file}: the link to `{target}` leads nowhere"))
        .collect()
}

/// What stands in `](…)`.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
}

/// Links to the web, into the same page, or to an item (rustdoc checks those).
fn leads_outside(target: &str) -> bool {
    target.is_empty()
        || target.contains(':')
        || target.starts_with('#')
        || !target.contains(['/', '.'])
}

/// `target` as seen from `folder`, `.` and `..` worked out.
pub(super) fn resolve(folder: &str, target: &str) -> String {
    let path = target.split('#').next().unwrap_or(target);
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Is `path` a file, or a folder with files in it?
fn exists(path: &str, files: &[String]) -> bool {
    path.is_empty()
        || files.iter().any(|file| {
            file.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_from_the_file_that_has_them() {
        let files = ["docs/a.md".to_owned(), "crates/arch/README.md".to_owned()];
        let text = "[a](a.md#top) [arch](../crates/arch) [x](https://example.org/x.md) [gone](b.md) [T](Trap)";
        assert_eq!(
            dead_links("docs/index.md", text, &files),
            ["docs/index.md: the link to `b.md` leads nowhere"]
        );
    }
}
