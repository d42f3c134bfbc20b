//! Runs a fuzz body over its corpus and over seeded mutations of it. Included by tests of several crates.

use std::path::Path;

/// Mutations of each file. Enough to find what is shallow; the deep is libFuzzer's.
const MUTATIONS: u64 = 60;

/// Gives every file of `corpus/TARGET` to `check`, as it is and changed.
pub(crate) fn run(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).expect("the corpus").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{} has {} files only", folder.display(), files.len());
    let all: Vec<Vec<u8>> = files.iter().map(|f| std::fs::read(f).expect("a file")).collect();
    for (at, (file, bytes)) in files.iter().zip(&all).enumerate() {
        let said = |what: &str| format!("{}, {what}", file.file_name().unwrap_or_default().display());
        attempt(&said("as it is"), bytes, &check);
        for seed in 0..MUTATIONS {
            let mut dice = Dice(seed ^ ((at as u64) << 32) ^ 0x5eed);
            let mut changed = bytes.clone();
            for _ in 0..=dice.below(4) {
                mutate(&mut changed, &all[dice.below(all.len())], &mut dice);
            }
            attempt(&said(&format!("seed {seed}")), &changed, &check);
        }
    }
}

fn attempt(name: &str, bytes: &[u8], check: &impl Fn(&[u8])) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(bytes)));
    assert!(outcome.is_ok(), "{name}: the panic is above; the input was {:?}", String::from_utf8_lossy(bytes));
}

/// What parsers trip over.
const ODD: &[&[u8]] = &[
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xf0\x9f",
    b"\"",
    b"\\",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b"<",
    b">",
    b"`",
    b"@",
    b":",
    b"%",
    b"%00",
    b"&",
    b"=",
    b"-1",
    b"0",
    b"1e999",
    b"18446744073709551616",
    b"null",
    b"/",
    b"..",
    b"[::",
    b"0x",
    b"\xe3\x80\x82",
    b" ",
    b"\t",
    b"\xe2\x80\xae",
];

fn mutate(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    let end = (at + dice.below(9)).min(bytes.len());
    match dice.below(6) {
        0 => drop(bytes.splice(at..at, ODD[dice.below(ODD.len())].iter().copied())),
        1 => drop(bytes.splice(at..end, ODD[dice.below(ODD.len())].iter().copied())),
        2 => drop(bytes.drain(at..end)),
        3 => bytes.truncate(at),
        4 => {
            let from = dice.below(other.len() + 1);
            let piece = other[from..(from + dice.below(40)).min(other.len())].to_vec();
            drop(bytes.splice(at..end, piece));
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
    }
}

/// SplitMix64: the same numbers everywhere, for ever.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % (n.max(1) as u64)) as usize
    }
}
