//! The command that was typed, to be told again with what should be different.

use std::path::Path;

use super::common::parse_pid;

/// Folders that `sudo` searches on the common distributions (`secure_path`): a program elsewhere
/// must be named by its path.
const SUDO_PATH: [&str; 4] = ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/bin"];

/// The command that was typed, for another process.
#[must_use]
pub fn for_pid(old: i32, new: i32) -> String {
    command(std::env::args(), old, new)
}

/// The command that was typed, for `sudo`.
#[must_use]
pub fn with_sudo(pid: i32) -> String {
    let mut words: Vec<String> = std::env::args().collect();
    if let (Some(program), Ok(path)) = (words.first_mut(), std::env::current_exe()) {
        let found = |folder: &Path| SUDO_PATH.iter().any(|known| Path::new(known) == folder);
        if !program.contains('/') && !path.parent().is_some_and(found) {
            *program = path.display().to_string();
        }
    }
    format!("sudo {}", command(words.into_iter(), pid, pid))
}

/// Replaces the process id, wherever it stands; adds it when it came from the environment.
fn command(words: impl Iterator<Item = String>, old: i32, new: i32) -> String {
    let mut named = false;
    let mut told: Vec<String> = Vec::new();
    for word in words {
        let split = ["--pid=", "-p=", "-p"]
            .iter()
            .find_map(|flag| Some((*flag, word.strip_prefix(flag)?)));
        let (flag, value) = split.unwrap_or(("", &word));
        if !told.is_empty() && parse_pid(value) == Ok(old) {
            named = true;
            told.push(format!("{flag}{new}"));
        } else {
            told.push(quote(&word));
        }
    }
    if !named {
        told.push(new.to_string());
    }
    told.join(" ")
}

/// A word as a shell would have to read it.
fn quote(word: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_is_replaced_wherever_it_stands() {
        let cases = [
            ("asyncspy ps 4242", "asyncspy ps 7"),
            ("asyncspy ps 0x1092 --all", "asyncspy ps 7 --all"),
            ("asyncspy dump -p 4242 -l", "asyncspy dump -p 7 -l"),
            ("asyncspy dump -p4242", "asyncspy dump -p7"),
            ("asyncspy dump --pid=4242", "asyncspy dump --pid=7"),
            (
                "asyncspy ps --filter a|b 4242",
                "asyncspy ps --filter 'a|b' 7",
            ),
            ("asyncspy ps", "asyncspy ps 7"),
            ("./4242 ps 4242", "./4242 ps 7"),
        ];
        for (typed, expected) in cases {
            let words = typed.split(' ').map(str::to_owned);
            assert_eq!(command(words, 4242, 7), expected);
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quote("a'b c"), r"'a'\''b c'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("--sort=name"), "--sort=name");
    }
}
