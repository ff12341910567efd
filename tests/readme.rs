//! The README says what the program does.

const README: &str = include_str!("../README.md");

/// The keys stand in one table in the source; the README repeats it word for word.
#[test]
fn the_keys_are_those_of_the_live_view() {
    let table = asyncspy_tui::key_table_markdown();
    assert!(
        README.contains(&table),
        "put this into README.md, below \"### top\":\n\n{table}"
    );
}
