//! Generators that are gone: what is at their address by now lends them no name.

use std::collections::BTreeSet;

use asyncspy::aio::Caches;
use asyncspy::aio::running::ThreadActivity;
use asyncspy::layout::GeneratorFrame;
use asyncspy::python::Python;
use asyncspy::python::frame::Owner;
use asyncspy::target::ProcessMemory;
use asyncspy::target::image::PageImage;
use asyncspy_model::{Event, RemoteAddr};
use asyncspy_test_support::Outcome;

use crate::belated::Belated;
use crate::memory::{recording, threads, word_at};
use crate::recorded_loops::recorded_loops;

/// Versions in which a generator has the qualified name, and its code only the plain one.
const MINORS: std::ops::RangeInclusive<u8> = 8..=10;

/// The functions on all stacks that are proven, and whether all are.
fn functions(python: &Python, memory: &dyn ProcessMemory) -> Outcome<(BTreeSet<String>, bool)> {
    let (mut names, mut proven) = (BTreeSet::new(), true);
    for thread in threads(python)? {
        let (image, caches) = (PageImage::new(memory), &mut Caches::default());
        let pid = python.facts.inner_pid;
        let activity = ThreadActivity::read(&image, &python.layout, caches, &thread, pid)?;
        let places = activity.places.iter().flatten();
        names.extend(places.map(|place| place.function.to_string()));
        proven &= activity.proven;
    }
    Ok((names, proven))
}

/// The generators that execute, and where a text is that is none of their names.
fn executing(python: &Python) -> Outcome<(Vec<RemoteAddr>, RemoteAddr)> {
    let (mut generators, mut other) = (Vec::new(), RemoteAddr::NULL);
    for thread in threads(python)? {
        let (image, caches) = (PageImage::new(&python.memory), &mut Caches::default());
        let pid = python.facts.inner_pid;
        let activity = ThreadActivity::read(&image, &python.layout, caches, &thread, pid)?;
        for frame in &activity.chain.frames {
            if let Owner::Generator(generator) = frame.owner {
                generators.push(generator);
            }
            other = frame.code.offset(python.layout.code.filename);
        }
    }
    Ok((generators, other))
}

fn defined_functions(events: &[Event]) -> Vec<String> {
    let stacks = events.iter().filter_map(|event| match event {
        Event::Stack { frames, .. } => Some(frames),
        _ => None,
    });
    let functions = stacks.flat_map(|frames| frames.iter().map(|each| &each.location.function));
    functions.map(ToString::to_string).collect()
}

/// A generator that runs another frame by the time that its name is read is another one.
#[test]
fn a_generator_that_is_gone_gets_no_name_from_its_successor() -> Outcome {
    for minor in MINORS {
        let recording = recording(minor)?;
        let mut python = recording.open()?;
        let (known, proven) = functions(&python, &python.memory)?;
        assert!(proven, "3.{minor}");
        let (generators, name) = executing(&python)?;
        assert!(!generators.is_empty(), "3.{minor}: none executes");
        let other = word_at(&recording.memory, name.0).ok_or("no name")?;
        let GeneratorFrame::Pointer { frame, code } = python.layout.generator.frame else {
            return Err("no frame of its own".into());
        };
        for changed in [frame, code] {
            let words = generators.iter().flat_map(|generator| {
                let name = generator.offset(python.layout.generator.qualname);
                [(generator.offset(changed), 0), (name, other)]
            });
            let words: Vec<_> = words.collect();
            let belated = Belated::new(&recording, words.clone(), usize::MAX);
            let (told, proven) = functions(&python, &belated)?;
            assert!(told.is_subset(&known) && !proven, "3.{minor}: {told:?}");

            let memory = std::mem::replace(&mut python.memory, Box::new(belated));
            for mut one in recorded_loops(&python)? {
                one.sample()?;
                let plain = |name: &String| known.iter().any(|each| each.ends_with(name.as_str()));
                let told = defined_functions(&one.events);
                assert!(told.iter().all(plain), "3.{minor}: {told:?}");
            }
            python.memory = memory;
        }
    }
    Ok(())
}
