//! Text that others chose, shown to people: it cannot move the cursor, change colours or hide what was said.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with every control character but newlines and tabs written out (`\u{1b}`), and those that turn the
/// direction of writing too.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_hidden(char) {
            // Writing to a string does not fail.
            _ = write!(shown, "\\u{{{:x}}}", u32::from(char));
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

fn is_hidden(char: char) -> bool {
    let turns =
        matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (char.is_control() && !matches!(char, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(printable("a\u{1b}[2Jb\r\u{7}\u{9b}"), "a\\u{1b}[2Jb\\u{d}\\u{7}\\u{9b}");
        assert_eq!(printable("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(printable("ä\n\tb"), "ä\n\tb");
    }
}
