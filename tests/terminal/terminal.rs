//! A terminal with a shell in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use asyncspy_test_support::Outcome;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take to appear. Only what is broken takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at the screen.
const POLL: Duration = Duration::from_millis(10);

/// What the shell prints when it waits for a command.
const PROMPT: &str = "shell>";

/// A terminal of 80×24, its shell in an empty folder. It ends with this value.
pub struct Terminal {
    folder: TempDir,
    shell: Pid,
}

impl Terminal {
    /// Starts a shell, with these variables, and waits for its prompt.
    pub fn open(variables: &[(&str, &str)]) -> Outcome<Self> {
        let folder = tempfile::Builder::new()
            .prefix("asyncspy-tmux-")
            .tempdir()?;
        let mut terminal = Self {
            folder,
            shell: Pid::from_raw(0),
        };
        let mut words = vec!["env".to_owned(), "-i".to_owned()];
        words.push(format!("PS1={PROMPT} "));
        for name in ["PATH", "HOME"] {
            words.push(format!(
                "{name}={}",
                std::env::var(name).unwrap_or_default()
            ));
        }
        words.push("TERM=screen-256color".to_owned());
        words.extend(
            variables
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        words.push("sh".to_owned());
        let folder = terminal.folder().to_string_lossy().into_owned();
        let mut start = vec![
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
        ];
        start.extend(["-c", &folder]);
        start.extend(words.iter().map(String::as_str));
        terminal.tmux(&start)?;
        let shell = terminal.tmux(&["display-message", "-p", "#{pane_pid}"])?;
        terminal.shell = Pid::from_raw(shell.trim().parse()?);
        terminal.wait_for(PROMPT)?;
        Ok(terminal)
    }

    /// Where the shell began, and files are saved.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn tmux(&self, words: &[&str]) -> Outcome<String> {
        let socket = self.folder().join("socket");
        let output = Command::new("tmux")
            .arg("-S")
            .arg(socket)
            .args(words)
            .env_remove("TMUX")
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        Err(format!(
            "tmux {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into())
    }

    /// Types a command; the program under test is `asyncspy` in it.
    pub fn command(&self, line: &str) -> Outcome {
        let line = line.replace("asyncspy", env!("CARGO_BIN_EXE_asyncspy"));
        // Without what was there before, a wait for the next text finds only the next text.
        self.tmux(&["send-keys", "-l", &format!("clear; {line}")])?;
        self.keys(&["Enter"])
    }

    /// Types a command that [`wait_for_end`](Self::wait_for_end) is to wait for.
    pub fn command_to_end(&self, line: &str) -> Outcome {
        self.command(&format!("{line}; echo ended with $?"))
    }

    /// Waits for the end of a command, and checks that it succeeded.
    pub fn wait_for_end(&self) -> Outcome {
        // The command itself stands on the screen as well, without a number.
        let ended = |screen: &str| {
            let mut after = screen.split("ended with ").skip(1);
            after.any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        };
        let screen = self.wait_until("end of the command", ended)?;
        match screen.contains("ended with 0") {
            true => Ok(()),
            false => Err(format!("it failed:\n{screen}").into()),
        }
    }

    /// Presses keys, named as tmux names them.
    pub fn keys(&self, keys: &[&str]) -> Outcome {
        let words = [&["send-keys", "--"], keys].concat();
        self.tmux(&words).map(drop)
    }

    /// Types a text.
    pub fn type_text(&self, text: &str) -> Outcome {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// What the screen shows.
    pub fn screen(&self) -> Outcome<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// What the screen shows, with the sequences that colour it.
    pub fn colored_screen(&self) -> Outcome<String> {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen shows a text, and returns the screen.
    pub fn wait_for(&self, text: &str) -> Outcome<String> {
        self.wait_until(&format!("{text:?} on the screen"), |screen| {
            screen.contains(text)
        })
    }

    /// Waits for a screen that satisfies a condition.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Outcome<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen()?;
            if is_so(&screen) {
                return Ok(screen);
            }
            if Instant::now() > deadline {
                return Err(format!("no {what} within {PATIENCE:?}:\n{screen}").into());
            }
            thread::sleep(POLL);
        }
    }

    /// Presses a key and waits for what it shows.
    pub fn press_for(&self, key: &str, text: &str) -> Outcome<String> {
        self.keys(&[key])?;
        self.wait_for(text)
    }

    /// Waits for the shell's prompt as the last line.
    pub fn wait_for_prompt(&self) -> Outcome<String> {
        let at_prompt = |screen: &str| screen.trim_end().ends_with(PROMPT);
        self.wait_until("prompt", at_prompt)
    }

    /// Changes the size of the terminal.
    pub fn resize(&self, columns: u16, rows: u16) -> Outcome {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let words = ["resize-window", "-x", &columns, "-y", &rows];
        self.tmux(&words).map(drop)
    }

    /// Modes of the terminal as `stty` and tmux tell them; the shell must be at its prompt.
    pub fn modes(&self) -> Outcome<String> {
        let file = self.folder().join("modes");
        self.command("stty -a > modes.new && mv modes.new modes")?;
        wait_until("stty has run", || file.exists())?;
        self.wait_for_prompt()?;
        let stty = fs::read_to_string(&file)?;
        fs::remove_file(&file)?;
        let screen = "alternate screen #{alternate_on}, cursor #{cursor_flag}, keypad \
                      #{keypad_flag}, mouse #{mouse_any_flag}";
        Ok(stty + &self.tmux(&["display-message", "-p", screen])?)
    }

    /// The program that runs in the shell.
    pub fn program(&self) -> Outcome<Pid> {
        let mut found = None;
        wait_until("a program runs in the shell", || {
            found = child_of(self.shell);
            found.is_some()
        })?;
        found.ok_or_else(|| "no program runs in the shell".into())
    }

    /// Sends a signal to the program that runs in the shell.
    pub fn signal(&self, signal: Signal) -> Outcome {
        Ok(kill(self.program()?, signal)?)
    }

    /// The one file that has been saved with this ending, once it is there.
    pub fn saved(&self, ending: &str) -> Outcome<PathBuf> {
        let mut found = None;
        wait_until(&format!("a file ends in {ending}"), || {
            let entries = fs::read_dir(self.folder()).into_iter().flatten().flatten();
            found = entries
                .map(|entry| entry.path())
                .find(|path| path.to_string_lossy().ends_with(ending));
            found.is_some()
        })?;
        found.ok_or_else(|| "nothing was saved".into())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

/// The first child of a process.
pub fn child_of(parent: Pid) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let first = children.split_whitespace().next()?;
    first.parse().ok().map(Pid::from_raw)
}

/// Waits for a condition.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return Err(format!("it was not so within {PATIENCE:?} that {what}").into());
        }
        thread::sleep(POLL);
    }
    Ok(())
}
