//! Folded stacks, one a line: `outer;inner 1234`, the weight in nanoseconds.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use super::profile::{FrameLabel, LabelOptions, Profile};

/// Writes the folded stacks, sorted; equal ones are one line.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_folded(
    out: &mut dyn io::Write,
    profile: &Profile,
    options: LabelOptions,
) -> io::Result<()> {
    for line in folded_lines(profile, options) {
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The lines without their ends, so sorted that stacks with equal outer frames stand together.
pub(super) fn folded_lines(profile: &Profile, options: LabelOptions) -> Vec<String> {
    let mut names: HashMap<&FrameLabel, Arc<str>> = HashMap::new();
    let mut folded: BTreeMap<Vec<Arc<str>>, u64> = BTreeMap::new();
    for (stack, ns) in &profile.stacks {
        if *ns == 0 || stack.is_empty() {
            continue;
        }
        let frames = stack.iter().map(|label| {
            let name = names.entry(label);
            // The separator is not for names.
            name.or_insert_with(|| options.frame_name(label).text().replace(';', ",").into())
                .clone()
        });
        let total = folded.entry(frames.collect()).or_default();
        *total = total.saturating_add(*ns);
    }
    let lines = folded
        .iter()
        .map(|(frames, ns)| format!("{} {ns}", unambiguous(frames.join(";"))));
    lines.collect()
}

/// The stack free of what readers take for their own: the `# ` of a comment, and a last word that
/// is a number and would be a second weight.
fn unambiguous(mut stack: String) -> String {
    let is_number = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    if let Some((before, last)) = stack.rsplit_once(' ')
        && is_number(last)
    {
        stack = format!("{before}_{last}");
    }
    if stack.starts_with('#') {
        stack.insert(0, '_');
    }
    stack
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ClosedPipe, text};
    use super::super::profile_fixtures::{hostile_profile, plain, shop_profile};
    use super::*;

    fn folded(profile: &Profile, options: LabelOptions) -> String {
        text(|out| write_folded(out, profile, options))
    }

    #[test]
    fn shop_is_golden() {
        insta::assert_snapshot!(folded(&shop_profile(), LabelOptions::default()));
    }

    #[test]
    fn lines_of_a_function_are_merged() {
        let options = LabelOptions {
            by_function: true,
            full_filenames: true,
        };
        insta::assert_snapshot!(folded(&shop_profile(), options));
    }

    #[test]
    fn no_name_breaks_the_format() {
        let text = folded(&hostile_profile(), LabelOptions::default());
        for line in text.lines() {
            let (stack, weight) = line.rsplit_once(' ').unwrap();
            assert!(weight.parse::<u64>().is_ok(), "{line}");
            assert!(
                !line.starts_with('#') && !line.chars().any(char::is_control),
                "{line}"
            );
            let last = stack.rsplit([';', ' ']).next().unwrap();
            assert!(last.parse::<f64>().is_err(), "{line}");
        }
        assert_eq!(text.lines().count(), hostile_profile().stacks.len());
    }

    #[test]
    fn stacks_of_one_outer_frame_stand_together() {
        let mut profile = shop_profile();
        let stack = |frames: &[&str]| (frames.iter().map(|name| plain(name)).collect(), 1);
        profile.stacks = vec![
            stack(&["a", "b", "c"]),
            stack(&["a", "b-x"]),
            stack(&["a", "b"]),
        ];
        assert_eq!(
            folded_lines(&profile, LabelOptions::default()),
            ["a;b 1", "a;b;c 1", "a;b-x 1"]
        );
        profile.stacks = vec![(vec![], 5), (vec![plain("a")], 0)];
        assert!(folded_lines(&profile, LabelOptions::default()).is_empty());
    }

    #[test]
    fn a_closed_pipe_is_an_error_not_a_panic() {
        let result = write_folded(&mut ClosedPipe(9), &shop_profile(), LabelOptions::default());
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
