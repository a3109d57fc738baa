//! The figures in `docs/src/reference/format-bytes.md` are those of the code.

use super::*;

const PAGE: &str = include_str!("../../../../../docs/src/reference/format-bytes.md");

/// A row of the worked examples.
fn row(what: &str, algorithm: Algorithm, data: &[u8]) -> String {
    let image = build(algorithm, 128 << 10, data);
    let header = *open(&file(&image)).unwrap().unwrap().header();
    let frames = header.index_offset - HEAD_LEN as u64;
    format!(
        "| {what} | `{algorithm}` | {HEAD_LEN} | {frames} | 2 x {} | {} | {} |",
        header.index_len(),
        header.seek_table_len(),
        header.image_len
    )
}

#[test]
fn the_worked_examples_are_real() {
    let algorithms = ["zstd:3", "lz4", "deflate:6", "none"];
    let mut missing = Vec::new();
    for (what, data) in [
        ("nothing", Vec::new()),
        ("10,000 bytes of a log", text(10_000)),
        ("1 MiB of a log", text(1 << 20)),
        ("1 MiB of zeros", vec![0; 1 << 20]),
        ("1 MiB of noise", noise(1 << 20, 1)),
    ] {
        for algorithm in algorithms {
            let row = row(what, algorithm.parse().expect("an algorithm"), &data);
            if !PAGE.contains(&row) {
                missing.push(row);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "docs/src/reference/format-bytes.md lacks:\n{}",
        missing.join("\n")
    );
}

#[test]
fn the_limits_on_the_page_are_those_of_the_code() {
    for (what, value) in [
        ("head", HEAD_LEN as u64),
        ("chunks on a page of the index", PAGE_CHUNKS),
        ("chunks of an image", MAX_CHUNKS),
        ("shortest chunk", (*CHUNK_LENS.start()).into()),
        ("longest chunk", (*CHUNK_LENS.end()).into()),
        ("records of a commit", log::MAX_RECORDS as u64),
        ("alignment of the log", log::ALIGNMENT),
    ] {
        assert!(PAGE.contains(&format!("| {what} | {value} |")), "{what} is {value}");
    }
}
