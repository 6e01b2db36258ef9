//! Estonian, as far as builds notice it: z sorts after s, numbers have a comma, months have other names.
//!
//! No machine can be relied on to have such a locale, so it is compiled inside, by the environment's own `localedef`,
//! in some milliseconds. Why not its real description? That comes with a package (`locales`) which few environments
//! have, and takes a second to compile.

use std::fmt::Write;
use std::path::Path;

/// What `LC_ALL` is set to.
pub(super) const NAME: &str = "et_EE.UTF-8";
/// Its directory below [`HOME`].
pub(super) const DIRECTORY: &str = "et_EE.utf8";
/// Where the C library looks for locales.
pub(super) const HOME: &str = "/usr/lib/locale";

/// The alphabet, in its order.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSŠZŽTUVWÕÄÖÜXY";

/// Whether the environment below `root` can compile it.
pub(super) fn is_possible(root: &Path) -> bool {
    root.join("usr/bin/localedef").is_file() && root.join("usr/lib/locale").is_dir()
}

fn symbol(letter: char) -> String {
    format!("<U{:04X}>", u32::from(letter))
}

/// The characters that the locale knows; all others of UTF-8 work, and belong to no class.
fn characters() -> Vec<char> {
    let mut all: Vec<char> = (0..128_u8).map(char::from).collect();
    all.extend(LETTERS.chars().flat_map(|upper| [upper, lower(upper)]).filter(|c| !c.is_ascii()));
    all
}

fn lower(upper: char) -> char {
    upper.to_lowercase().next().unwrap_or(upper)
}

/// The character map, for `localedef -f`.
pub(super) fn character_map() -> String {
    let mut text = "<escape_char> /\n<comment_char> %\n<code_set_name> UTF-8\n<mb_cur_min> 1\n\
                    <mb_cur_max> 6\nCHARMAP\n"
        .to_owned();
    for letter in characters() {
        let mut bytes = [0; 4];
        let encoded: String =
            letter.encode_utf8(&mut bytes).bytes().map(|byte| format!("/x{byte:02x}")).collect();
        _ = writeln!(text, "{} {encoded} C", symbol(letter));
    }
    text.push_str("END CHARMAP\n");
    text
}

/// The locale's description, for `localedef -i`.
pub(super) fn description() -> String {
    let mut text = "escape_char /\ncomment_char %\nLC_CTYPE\n".to_owned();
    let all = characters();
    let mut class = |name: &str, member: &dyn Fn(char) -> bool| {
        let members: Vec<String> = all.iter().filter(|c| member(**c)).map(|c| symbol(*c)).collect();
        _ = writeln!(text, "{name} {}", members.join(";"));
    };
    class("upper", &char::is_uppercase);
    class("lower", &char::is_lowercase);
    class("digit", &|c| c.is_ascii_digit());
    class("xdigit", &|c| c.is_ascii_hexdigit());
    class("space", &|c| c.is_ascii_whitespace() || c == '\u{b}');
    class("blank", &|c| c == ' ' || c == '\t');
    class("cntrl", &|c| c.is_ascii_control());
    class("punct", &|c| c.is_ascii_punctuation());
    let letters = || LETTERS.chars().filter(|upper| lower(*upper) != *upper);
    let pairs = |turn: &dyn Fn(char) -> (char, char)| {
        let pair = |(from, to)| format!("({},{})", symbol(from), symbol(to));
        letters().map(|upper| pair(turn(upper))).collect::<Vec<String>>().join(";")
    };
    _ = writeln!(text, "toupper {}", pairs(&|upper| (lower(upper), upper)));
    _ = writeln!(text, "tolower {}", pairs(&|upper| (upper, lower(upper))));
    text.push_str("END LC_CTYPE\nLC_COLLATE\norder_start forward\n");
    let others = all.iter().copied().filter(|c| !c.is_alphabetic());
    for letter in others.chain(LETTERS.chars().flat_map(|upper| [lower(upper), upper])) {
        _ = writeln!(text, "{}", symbol(letter));
    }
    text.push_str("UNDEFINED\norder_end\nEND LC_COLLATE\n");
    text.push_str(&format!(
        "LC_NUMERIC\ndecimal_point \"{}\"\nthousands_sep \"{}\"\ngrouping 3;3\nEND LC_NUMERIC\n",
        symbol(','),
        symbol(' ')
    ));
    text.push_str(&times());
    text
}

/// Names of days and months, and how dates are written.
fn times() -> String {
    let quoted = |word: &str| format!("\"{}\"", word.chars().map(symbol).collect::<String>());
    let list = |words: &str| words.split(' ').map(quoted).collect::<Vec<String>>().join(";");
    let days = "pühapäev esmaspäev teisipäev kolmapäev neljapäev reede laupäev";
    let months = "jaanuar veebruar märts aprill mai juuni juuli august september oktoober november \
                  detsember";
    let short_months = "jaan veebr märts apr mai juuni juuli aug sept okt nov dets";
    let mut text = "LC_TIME\n".to_owned();
    for (key, words) in
        [("abday", "P E T K N R L"), ("day", days), ("abmon", short_months), ("mon", months)]
    {
        _ = writeln!(text, "{key} {}", list(words));
    }
    for (key, format) in [
        ("d_t_fmt", "%a, %d. %b %Y %T"),
        ("d_fmt", "%d.%m.%Y"),
        ("t_fmt", "%T"),
        ("t_fmt_ampm", ""),
    ] {
        _ = writeln!(text, "{key} {}", quoted(format));
    }
    text.push_str("am_pm \"\";\"\"\nEND LC_TIME\n");
    text
}

/// The script's lines that compile it. `localedef` complains about what is left out, and writes the rest.
pub(super) fn script(ours: &str) -> Vec<String> {
    let to = format!("{HOME}/{DIRECTORY}");
    vec![
        format!("cp -r {ours}/locale/. {HOME}/"),
        format!(
            "LC_ALL=C localedef --no-archive --quiet -c -i {ours}/et_EE -f {ours}/UTF-8 {to} \
             2>/dev/null || :"
        ),
        format!("[ -f {to}/LC_COLLATE ]"),
    ]
}
