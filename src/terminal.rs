//! What the terminal can show.

/// Columns that lines are made to fit.
pub(crate) const WIDTH: usize = 80;

/// Whether what is printed may draw with characters beyond ASCII: if the locale's are those of Unicode.
pub(crate) fn shows_unicode() -> bool {
    // Rust prints Unicode on a Windows console, whatever its locale is
    cfg!(windows) || is_unicode(|variable| std::env::var(variable).ok())
}

/// The first of these variables that says anything is the locale of characters, as POSIX has it; with none of them, it is
/// that of C.
fn is_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|locale| !locale.is_empty());
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_says_what_can_be_shown() {
        for (variables, unicode) in [
            (&[("LANG", "en_GB.UTF-8")][..], true),
            (&[("LANG", "C.utf8")], true),
            (&[("LC_CTYPE", "UTF-8")], true),
            (&[("LANG", "en_GB.UTF-8"), ("LC_ALL", "C")], false),
            (&[("LANG", "en_GB.UTF-8"), ("LC_ALL", "")], true),
            (&[("LANG", "C"), ("LC_CTYPE", "de_DE.UTF-8")], true),
            (&[("LANG", "de_DE.ISO-8859-1")], false),
            (&[("LANG", "POSIX")], false),
            (&[], false),
        ] {
            let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
            assert_eq!(is_unicode(get), unicode, "{variables:?}");
        }
    }
}
