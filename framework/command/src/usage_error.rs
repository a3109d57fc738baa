//! Complaints about the command line, in one line.

use clap::error::ErrorKind;

/// Turns clap's paragraphs into the one line that all our errors have.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string().replace('\'', "`");
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let help = help_command(text.lines().find(|line| line.starts_with("Usage:")).unwrap_or(""));
        return format!("a command is missing; see `{help}`");
    }
    let mut parts = Vec::new();
    let mut help = "hsci --help".to_owned();
    for paragraph in text.split("\n\n") {
        let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.starts_with("Usage:") {
            help = help_command(&words);
        } else if let Some(complaint) = words.strip_prefix("error: ") {
            parts.push(complaint.to_owned());
        } else if let Some((_, tip)) = words.split_once("similar ") {
            // The most similar of several comes last.
            let meant = tip.split('`').nth_back(1).unwrap_or(tip);
            parts.push(format!("did you mean `{meant}`?"));
        }
    }
    if parts.len() < 2 {
        parts.push(format!("see `{help}`"));
    }
    parts.join("; ")
}

/// The command that explains what a usage line is about.
fn help_command(usage: &str) -> String {
    let words = usage.split_whitespace().skip(1);
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
    let names: Vec<_> = words.take_while(is_name).collect();
    format!("{} --help", names.join(" "))
}
