//! An SVG flame graph, drawn by inferno.

use std::io;

use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};

use super::escape::escape;
use super::folded::folded_lines;
use super::profile::{LabelOptions, Profile};

/// Writes the graph, root on top, widths and figures in milliseconds. A profile without any time
/// gives a picture that says so.
///
/// # Errors
/// What the writer returned, a closed pipe included.
pub fn write_flame_graph(
    out: &mut dyn io::Write,
    profile: &Profile,
    options: LabelOptions,
) -> io::Result<()> {
    let lines = folded_lines(profile, options);
    if lines.is_empty() {
        return write_empty(out, profile);
    }
    let mut settings = Options::default();
    settings.title = escape(&profile.title).into_owned();
    settings.subtitle = Some(profile.subtitle());
    settings.count_name = "ms".to_owned();
    // Weights are nanoseconds.
    settings.factor = 1e-6;
    settings.direction = Direction::Inverted;
    settings.text_truncate_direction = TextTruncateDirection::Right;
    // The same function has the same colour in every graph.
    settings.deterministic = true;
    flamegraph::from_lines(&mut settings, lines.iter().map(String::as_str), out)
}

/// inferno refuses to draw nothing.
fn write_empty(out: &mut dyn io::Write, profile: &Profile) -> io::Result<()> {
    let texts = [
        (escape(&profile.title).into_owned(), 24, 17),
        (profile.subtitle(), 48, 12),
        (
            "No time was counted: nothing of this mode was seen.".to_owned(),
            84,
            14,
        ),
    ];
    writeln!(out, r#"<?xml version="1.0" standalone="no"?>"#)?;
    writeln!(
        out,
        r#"<svg version="1.1" width="1200" height="110" xmlns="http://www.w3.org/2000/svg">"#
    )?;
    writeln!(
        out,
        r##"<rect width="100%" height="100%" fill="#eeeeee"/>"##
    )?;
    for (text, y, size) in texts {
        let text = xml_text(&text);
        writeln!(
            out,
            r#"<text x="10" y="{y}" font-family="monospace" font-size="{size}">{text}</text>"#
        )?;
    }
    writeln!(out, "</svg>")
}

fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ClosedPipe, text};
    use super::super::profile_fixtures::{hostile_profile, plain, shop_profile};
    use super::*;

    fn graph(profile: &Profile) -> String {
        text(|out| write_flame_graph(out, profile, LabelOptions::default()))
    }

    #[test]
    fn times_are_in_milliseconds() {
        let svg = graph(&shop_profile());
        for part in [
            "<title>Client.post (payments/client.py:118) (1,240 ms, 77.02%)</title>",
            "<title>render (shop/report.py:57) (310 ms, 19.25%)</title>",
            "asyncspy: what held the loops",
            "pid 4242, Python 3.12.1, mode busy, 100 Hz for 1 min 02 s: 6150 samples, 3 late, \
             1 skipped, 2 torn, /usr/bin/python3 -m shop --port 8000",
        ] {
            assert!(svg.contains(part), "{part}");
        }
    }

    #[test]
    fn an_empty_profile_is_a_picture_that_says_so() {
        let mut profile = shop_profile();
        profile.stacks.clear();
        insta::assert_snapshot!(graph(&profile));
    }

    #[test]
    fn hostile_names_stay_text() {
        let mut profile = hostile_profile();
        let svg = graph(&profile);
        assert!(!svg.contains("<script>alert") && !svg.contains("</script><b>"));
        assert!(
            !svg.chars()
                .any(|c| c.is_control() && c != '\n' && c != '\t')
        );
        assert!(svg.len() < 200_000, "{}", svg.len());
        profile.stacks.clear();
        assert!(!graph(&profile).contains("<script>"));
    }

    #[test]
    fn a_deep_stack_is_drawn() {
        let mut profile = shop_profile();
        profile.stacks = vec![(vec![plain("f"); 10_000], 1_000_000)];
        assert!(graph(&profile).contains("f (1 ms, 100.00%)"));
    }

    #[test]
    fn a_closed_pipe_is_an_error_not_a_panic() {
        for bytes in [0, 100, 20_000] {
            let result = write_flame_graph(
                &mut ClosedPipe(bytes),
                &shop_profile(),
                LabelOptions::default(),
            );
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
