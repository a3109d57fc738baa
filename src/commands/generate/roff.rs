//! A page of the book as a page of the manual.
//!
//! Headings become sections, the first column of a table what is explained. Links lose their targets: a
//! manual has none.

use std::fmt::Write as _;

use hsci_command::manual::escaped;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// The page `name(section)`.
pub(super) fn page(name: &str, section: &str, about: &str, source: &str, text: &str) -> String {
    let mut page = Page { text: String::new(), before_table: 0, cell: 0, lists: Vec::new() };
    let _ = write!(
        page.text,
        ".TH {name} {section} \"\" \"{source}\" \"hsci\"\n.SH NAME\n{} \\- {about}\n.SH DESCRIPTION\n",
        escaped(name)
    );
    let mut title = false;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        // The title of the page of the book is the manual's name line.
        match &event {
            Event::Start(Tag::Heading { level: HeadingLevel::H1, .. }) => title = true,
            Event::End(TagEnd::Heading(HeadingLevel::H1)) => title = false,
            _ if title => {}
            _ => page.add(&event),
        }
    }
    page.text
}

struct Page {
    text: String,
    /// Length of the text before the table.
    before_table: usize,
    /// Number of the table's cell in its row.
    cell: usize,
    /// The next number of each list that is open, from the outermost; nothing for bullets.
    lists: Vec<Option<u64>>,
}

impl Page {
    fn add(&mut self, event: &Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.words(text),
            Event::Code(text) => {
                let _ = write!(self.text, "\\fB{}\\fR", escaped(text));
            }
            Event::SoftBreak | Event::HardBreak => self.text.push('\n'),
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Heading { level: HeadingLevel::H2, .. } => self.request(".SH "),
            Tag::Heading { .. } => self.request(".SS "),
            Tag::Paragraph if self.lists.is_empty() => self.request(".PP\n"),
            Tag::CodeBlock(_) => self.request(".PP\n.RS 4\n.nf\n"),
            Tag::List(first) => self.lists.push(*first),
            Tag::Item => self.item(),
            Tag::Strong => self.text.push_str("\\fB"),
            Tag::Emphasis => self.text.push_str("\\fI"),
            Tag::TableHead => self.before_table = self.text.len(),
            Tag::TableRow => self.cell = 0,
            Tag::TableCell => self.cell(),
            _ => {}
        }
    }

    fn end(&mut self, tag: &TagEnd) {
        match tag {
            TagEnd::Heading(_) | TagEnd::Item | TagEnd::TableRow => self.request(""),
            TagEnd::CodeBlock => self.request(".fi\n.RE\n"),
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::Strong | TagEnd::Emphasis => self.text.push_str("\\fR"),
            // The manual's tables have no heads.
            TagEnd::TableHead => self.text.truncate(self.before_table),
            TagEnd::TableCell => self.cell += 1,
            _ => {}
        }
    }

    /// Begins a line.
    fn request(&mut self, request: &str) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text.push_str(request);
    }

    fn words(&mut self, text: &str) {
        let mut lines = text.split('\n').peekable();
        while let Some(line) = lines.next() {
            if !line.is_empty() {
                self.text.push_str(&escaped(line));
            }
            if lines.peek().is_some() {
                self.text.push('\n');
            }
        }
    }

    fn item(&mut self) {
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!(".IP {}. 4\n", *number - 1)
            }
            _ => ".IP \\(bu 2\n".to_owned(),
        };
        self.request(&mark);
    }

    fn cell(&mut self) {
        match self.cell {
            0 => self.request(".TP\n"),
            1 => self.request(""),
            _ => self.text.push_str("; "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_book_becomes_a_page_of_the_manual() {
        let text = "# Title\n\nSome `code`, a [link](x.md).\n.dot\n\n## Part\n\n* one\n* two\n\n\
                    ```text\n.a -b\n\n'c\n```\n\n| head | two |\n|---|---|\n| `x` | what it is |\n";
        let page = page("a-b", "5", "what", "hsci 1", text);
        let expected = ".TH a-b 5 \"\" \"hsci 1\" \"hsci\"\n.SH NAME\n\\&a\\-b \\- what\n.SH DESCRIPTION\n\
                        .PP\n\\&Some \\fB\\&code\\fR\\&, a \\&link\\&.\n\\&.dot\n.SH \\&Part\n\
                        .IP \\(bu 2\n\\&one\n.IP \\(bu 2\n\\&two\n\
                        .PP\n.RS 4\n.nf\n\\&.a \\-b\n\n\\&\\(aqc\n.fi\n.RE\n\
                        .TP\n\\fB\\&x\\fR\n\\&what it is\n";
        assert_eq!(page, expected);
    }
}
