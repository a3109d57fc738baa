//! Complaints about the command line, in one line.

/// Turns clap's paragraphs into the one line that all our errors have.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraphs = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut parts: Vec<String> = paragraphs
        .take_while(|paragraph| !paragraph.starts_with("Usage:"))
        .map(|paragraph| {
            paragraph.trim_start_matches("error: ").trim_start_matches("tip: ").to_owned()
        })
        .filter(|part| !part.is_empty() && !part.starts_with("For more information"))
        .collect();
    parts.push("see `hsci --help`".to_owned());
    parts.join("; ")
}
