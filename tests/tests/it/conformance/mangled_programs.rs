//! Cases that are mangled at random, in their structure and in their bytes. Each is played, or
//! refused in one line.

use std::thread;

use rappel_core::{Value, json};
use rappel_tests::replay::Program;
use rappel_tests::runtimes::Flavour;

use super::cases;

const SEEDS: u64 = 4_000;

#[test]
fn mangled_programs_are_played_or_refused_in_one_line() {
    let originals: Vec<Value> = cases().into_iter().map(|(_, case)| without_log(case)).collect();
    let (mut played, mut refused) = (0, 0);
    Flavour::TokioCurrentThread.run(async |rt| {
        for seed in 0..SEEDS {
            let _seed = TellOnPanic(seed);
            let mut random = Random::new(seed);
            match Program::read(&mangled(&originals, &mut random)) {
                Ok(program) => {
                    program.play(rt.callbacks()).await;
                    played += 1;
                }
                Err(error) => {
                    assert_one_line(&error.to_string());
                    refused += 1;
                }
            }
        }
    });
    // Otherwise the mutations are too weak or too strong to find anything.
    assert!(played > SEEDS / 20 && refused > SEEDS / 4, "played {played}, refused {refused}");
}

/// The replayer ignores the log, so that mangling it finds nothing.
fn without_log(mut case: Value) -> Value {
    case.as_object_mut().unwrap().remove("expected");
    case
}

fn assert_one_line(message: &str) {
    let step = message.strip_prefix("step ").and_then(|rest| rest.split_once(": "));
    let names_its_place = message.starts_with("program: ")
        || step.is_some_and(|(index, _)| index.parse::<usize>().is_ok());
    assert!(names_its_place && !message.contains(breaks_line), "{message:?}");
}

fn breaks_line(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

fn mangled(originals: &[Value], random: &mut Random) -> Vec<u8> {
    let mut program = random.one_of(originals).clone();
    for _ in 0..random.below(3) {
        mangle_structure(&mut program, random);
    }
    let mut bytes = program.to_string().into_bytes();
    if random.below(4) == 0 {
        mangle_bytes(&mut bytes, random);
    }
    bytes
}

fn mangle_structure(program: &mut Value, random: &mut Random) {
    let mut paths = Vec::new();
    list_paths(program, String::new(), &mut paths);
    let (source, target) = (random.one_of(&paths), random.one_of(&paths));
    let graft = program.pointer(source).unwrap().clone();
    let junk = [
        json!(null),
        json!(-1),
        json!(1.5),
        json!("1"),
        json!("root"),
        json!([]),
        json!({}),
        json!([[]]),
        json!("\u{2028}\n"),
    ];
    let place = program.pointer_mut(target).unwrap();
    match (random.below(3), place) {
        (0, place) => *place = random.one_of(&junk).clone(),
        (1, Value::Array(items)) if !items.is_empty() => {
            let (one, other) = (random.below(items.len()), random.below(items.len()));
            match random.below(3) {
                0 => items.swap(one, other),
                1 => items.insert(one, items[other].clone()),
                _ => drop(items.remove(one)),
            }
        }
        (1, Value::Object(fields)) if !fields.is_empty() => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            let value = fields.remove(random.one_of(&keys)).unwrap();
            if random.below(2) == 0 {
                fields.insert(random.one_of(&keys).clone(), value);
            }
        }
        (_, place) => *place = graft,
    }
}

/// The JSON pointers of all values in `value`. No key of the cases needs escaping.
fn list_paths(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                list_paths(item, format!("{path}/{index}"), paths);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields.iter().filter(|(key, _)| !key.contains(['/', '~'])) {
                list_paths(field, format!("{path}/{key}"), paths);
            }
        }
        _ => {}
    }
    paths.push(path);
}

fn mangle_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(4) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes.insert(at, *random.one_of(b"{}[]\",:0-e\\\xff\x00")),
        _ => drop(bytes.splice(at..at, std::iter::repeat_n(b'[', 1_000))),
    }
}

/// The generator SplitMix64: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Names the seed of the program that panicked.
struct TellOnPanic(u64);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("it was seed {}", self.0);
        }
    }
}
