//! The shell script that a build is inside its sandbox: lay the source out, run the steps, hand the outputs over.

use super::handover::ARCHIVE;
use super::locale;
use super::surroundings::{Laying, Surroundings};
use crate::inputs::vendor::cargo_config;
use crate::recipe::RecipeSpec;

/// Where the builder's own files lie inside.
pub(super) const OURS: &str = "/countersign";
/// Begins a word to the builder in the build's output. No text that people write holds it.
pub(super) const MARK: &str = "\u{1}\u{2}countersign\u{2}\u{1}";
/// Where outputs are gathered, in memory, under their paths in the artifact.
pub(super) const OUT: &str = "/countersign/out";
/// The exit code for an output that was not built.
pub(super) const NO_OUTPUT: i32 = 113;

pub(super) fn script(
    recipe: &RecipeSpec,
    around: &Surroundings,
    has_cargo_config: bool,
    provided: &[String],
    keep: bool,
) -> String {
    let base = around.base;
    let mut lines = vec!["set -eu".to_owned()];
    if around.locale {
        lines.extend(locale::script(OURS));
    }
    if around.limited {
        lines.push("ulimit -n 4096; ulimit -S -s 16384 || :".to_owned());
    }
    lines.push(format!("umask {}", around.umask));
    lines.push(format!("mkdir -p {base}/src \"$HOME\""));
    lines.extend(laid_out(around));
    if has_cargo_config {
        lines.push("mkdir -p \"$CARGO_HOME\"".to_owned());
        lines.push(format!("cp {OURS}/cargo.toml \"$CARGO_HOME/config.toml\""));
    }
    lines.extend_from_slice(provided);
    lines.push(format!("cd {base}/src"));
    lines.push(format!("tell() {{ printf '%s%s\\n' '{MARK}' \"$1\"; }}"));
    lines.push("step() {".to_owned());
    lines.push("  tell \"step $1\"".to_owned());
    lines.push("  printf '+ %s\\n' \"$2\"".to_owned());
    let piped = if around.piped { ": | " } else { "" };
    lines.push(format!("  status=0; {piped}sh -euc \"$2\" || status=$?"));
    lines.push("  [ $status -ne 0 ] || return 0".to_owned());
    if keep {
        lines.push(format!("  kill -s KILL -- -1 2>/dev/null || :; tell {ARCHIVE}"));
        lines.push(format!("  tar -c --format=gnu -C {base} src 2>/dev/null || :"));
    }
    lines.push("  exit $status".to_owned());
    lines.push("}".to_owned());
    for (number, step) in recipe.build.steps.iter().enumerate() {
        lines.push(format!("step {} {}", number + 1, quoted(step)));
    }
    // Whatever the steps left running must not touch the outputs while they are copied.
    lines.push("kill -s KILL -- -1 2>/dev/null || :".to_owned());
    lines.push("umask 0022".to_owned());
    lines.push("take() {".to_owned());
    lines.push("  tell \"output $1\"".to_owned());
    lines.push(format!("  [ -e \"$2\" ] || [ -L \"$2\" ] || exit {NO_OUTPUT}"));
    lines.push(format!("  mkdir -p -- \"$(dirname -- \"{OUT}/$3\")\""));
    lines.push(format!("  cp -aT -- \"$2\" \"{OUT}/$3\""));
    // tar would leave one out and say nothing.
    lines.push(format!("  sockets=$(find \"{OUT}/$3\" -type s)"));
    lines.push("  [ -z \"$sockets\" ] || { echo 'a socket is no output'; exit 1; }".to_owned());
    lines.push("}".to_owned());
    for (number, (to, from)) in recipe.outputs.iter().enumerate() {
        let (to, from) = (quoted(to.as_str()), quoted(from.as_str()));
        lines.push(format!("take {number} {from} {to}"));
    }
    lines.push(format!("tell {ARCHIVE}"));
    // Nothing but the archive may be in the stream now.
    lines.push(format!("tar -c --format=gnu -C {OUT} . 2>/dev/null"));
    lines.push(String::new());
    lines.join("\n")
}

/// The source's way to its place. Inside, so that directories are made in the archive's order on an empty file system
/// in memory, and list alike everywhere.
fn laid_out(around: &Surroundings) -> Vec<String> {
    let base = around.base;
    let Laying { reversed, mtime } = around.laying;
    let mut lines = Vec::new();
    if reversed {
        // A directory's own entry comes after what is in it.
        lines.push(format!("mkdir /tmp/laid; tar -x -f {OURS}/source.tar -C /tmp/laid"));
        lines.push("cd /tmp/laid".to_owned());
        lines.push(format!(
            "find . -mindepth 1 -print0 | LC_ALL=C sort -rz | tar -c --no-recursion --null -T - \
             | tar -x -C {base}/src"
        ));
        lines.push("cd /; rm -rf /tmp/laid".to_owned());
    } else {
        lines.push(format!("tar -x -f {OURS}/source.tar -C {base}/src"));
    }
    if let Some(mtime) = mtime {
        lines.push(format!("find {base}/src -exec touch -h -d @{mtime} {{}} +"));
    }
    lines
}

/// The same steps where there is no sandbox around them: variables are set here, outputs are copied to `/artifact`.
pub(super) fn container(
    recipe: &RecipeSpec,
    around: &Surroundings,
    has_rust: bool,
    provided: &[String],
) -> String {
    let base = around.base;
    let mut lines = vec!["set -eu".to_owned(), format!("umask {}", around.umask)];
    for (name, value) in &around.environment {
        lines.push(format!("export {name}={}", quoted(value)));
    }
    if has_rust {
        lines.push("mkdir -p \"$CARGO_HOME\"".to_owned());
        let config = quoted(&cargo_config(base));
        lines.push(format!("printf %s {config} > \"$CARGO_HOME/config.toml\""));
    }
    lines.push("mkdir -p \"$HOME\"".to_owned());
    lines.extend_from_slice(provided);
    lines.push(format!("cd {base}/src"));
    lines.extend(recipe.build.steps.iter().map(|step| format!("sh -euc {}", quoted(step))));
    for (to, from) in &recipe.outputs {
        let to = quoted(&format!("/artifact/{to}"));
        lines.push(format!("mkdir -p \"$(dirname {to})\""));
        lines.push(format!("cp -a -- {} {to}", quoted(from.as_str())));
    }
    lines.push(String::new());
    lines.join("\n")
}

pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_step_reaches_the_shell_as_it_was_written() {
        assert_eq!(super::quoted("it's $HOME"), "'it'\\''s $HOME'");
    }
}
