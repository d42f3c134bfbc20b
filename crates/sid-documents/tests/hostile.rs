//! Files that are made to do harm: who asks for them to be read goes on, and is told.

mod support;

use std::time::{Duration, Instant};

use sid_documents::{DocumentReader, InProcess, Limits, OwnProcess, ReadDocument, Unreadable};
use sid_types::DocumentFormat;
use support::{of_objects, of_pages, stream};

const READER: &str = env!("CARGO_BIN_EXE_sid-document-reader");

fn limits() -> Limits {
    Limits { time: Duration::from_secs(20), memory: 1 << 30, ..Limits::default() }
}

async fn ask(content: Vec<u8>, limits: Limits) -> Result<ReadDocument, Unreadable> {
    OwnProcess::with_program(limits, READER).read(DocumentFormat::Pdf, content).await
}

#[tokio::test]
async fn a_process_reads_as_a_thread_does() {
    let content = of_pages(&["Be kind.", "Thirty days."]);
    let here = InProcess::default().read(DocumentFormat::Pdf, content.clone()).await;
    assert_eq!(ask(content, limits()).await, here);
    assert_eq!(here.map(|read| read.parts.len()), Ok(2));
}

/// A tree of pages that leads back to itself, so that who looks for what a page inherits goes round.
fn a_loop() -> Vec<u8> {
    of_objects(&[
        "<< /Type /Catalog /Pages 2 0 R >>".into(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 /Parent 2 0 R >>".into(),
        "<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>".into(),
        stream("BT (x) Tj ET"),
    ])
}

#[tokio::test]
async fn a_stack_that_overflows_is_the_readers_own() {
    let error = ask(a_loop(), limits()).await.expect_err("no end");
    assert!(matches!(error, Unreadable::UsedUp { .. } | Unreadable::Broken { .. } | Unreadable::NoText), "{error:?}");
}

#[tokio::test]
async fn objects_in_each_other_without_end_are_refused() {
    let deep = format!("{}{}", "[".repeat(300_000), "]".repeat(300_000));
    let file = of_objects(&["<< /Type /Catalog /Pages 2 0 R /X 3 0 R >>".into(), "<< /Type /Pages /Kids [] /Count 0 >>".into(), deep]);
    let error = ask(file, limits()).await.expect_err("too deep");
    assert!(matches!(error, Unreadable::UsedUp { .. } | Unreadable::Broken { .. } | Unreadable::NoText), "{error:?}");
}

/// One page that draws a form, which draws two, and so on: a few hundred bytes for 2^40 words.
fn a_billion_words() -> Vec<u8> {
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".into(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 612 792] >>".into(),
        "<< /Type /Page /Parent 2 0 R /Resources << /XObject << /A 6 0 R >> /Font << /F1 4 0 R >> >> /Contents 5 0 R >>".into(),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".into(),
        stream("/A Do"),
    ];
    for n in 6..46 {
        let content = "/A Do /A Do";
        objects.push(format!(
            "<< /Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /XObject << /A {} 0 R >> /Font << /F1 4 0 R >> >> /Length {} >>\nstream\n{content}\nendstream",
            n + 1,
            content.len()
        ));
    }
    let content = "BT /F1 12 Tf 72 700 Td (word) Tj ET";
    objects.push(format!(
        "<< /Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /Font << /F1 4 0 R >> >> /Length {} >>\nstream\n{content}\nendstream",
        content.len()
    ));
    of_objects(&objects)
}

#[tokio::test]
async fn work_without_end_is_ended() {
    let began = Instant::now();
    let error = ask(a_billion_words(), Limits { time: Duration::from_secs(2), ..limits() }).await.expect_err("no end");
    assert!(matches!(error, Unreadable::UsedUp { .. } | Unreadable::Broken { .. } | Unreadable::NoText), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn memory_has_a_limit() {
    // A cross-reference table that says it has four billion entries, and a stream that says it is as long.
    let content = b"%PDF-1.4\nxref\n0 4294967295\ntrailer\n<< /Size 4294967295 /Root 1 0 R >>\nstartxref\n9\n%%EOF".to_vec();
    assert!(ask(content, limits()).await.is_err());
    // So little that the process itself hardly fits.
    let error = ask(of_pages(&["x"]), Limits { memory: 8 << 20, ..limits() }).await.expect_err("no room");
    assert!(matches!(error, Unreadable::UsedUp { .. } | Unreadable::NoReader { .. }), "{error:?}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_worth_another_try() {
    let error = OwnProcess::with_program(limits(), "/nowhere/reader").read(DocumentFormat::Text, b"x".to_vec()).await.expect_err("none");
    assert!(error.is_transient(), "{error:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reader_can_open_nothing() {
    use tokio::io::AsyncWriteExt as _;

    let plan = serde_json::json!({"format": "text", "limits": limits()}).to_string();
    let mut command = tokio::process::Command::new(READER);
    command.arg("sid-read-document").arg(plan).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut reader = command.kill_on_drop(true).spawn().expect("it starts");
    let limits_of = format!("/proc/{}/limits", reader.id().expect("it runs"));
    // It is confined before it reads; until then it has the limits of this process.
    let is_confined = || {
        let shown = std::fs::read_to_string(&limits_of).unwrap_or_default();
        shown.lines().any(|line| line.starts_with("Max open files") && line.split_whitespace().nth(3) == Some("3"))
    };
    let end = Instant::now() + Duration::from_secs(20);
    while !is_confined() {
        assert!(Instant::now() < end, "it has no more than its three streams");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut stdin = reader.stdin.take().expect("piped");
    stdin.write_all(b"Be kind.").await.expect("it reads");
    drop(stdin);
    let out = reader.wait_with_output().await.expect("it ends");
    assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains("Be kind."), "{out:?}");
}
